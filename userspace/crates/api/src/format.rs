//! The forms an answer can be had in: JSON, a line a value (NDJSON), or CSV.
//!
//! A handler chooses one with [`Format::choose`] and writes rows through
//! [`ndjson`] or [`Csv`]. Values come from strangers: a path may hold commas,
//! quotes and line ends, and may begin as a spreadsheet's formula does.

use std::borrow::Cow;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::error::ApiError;

const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";
/// `header=present` says that the first row is the columns' names (RFC 4180
/// section 3).
const CSV: &str = "text/csv; charset=utf-8; header=present";
/// Beginnings that spreadsheets read as a formula, their full-width forms with
/// them. The same list as OWASP's "CSV injection".
const FORMULAS: &[char] = &['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];

/// A form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON document.
    Json,
    /// A JSON document a line.
    Ndjson,
    /// A table, its columns' names first.
    Csv,
}

impl Format {
    /// The form asked for: by the parameter `format` (`json`, `ndjson` or
    /// `csv`), else by the header `Accept`, else JSON.
    ///
    /// # Errors
    /// `BadRequest` for any other `format`. An `Accept` that names nothing we
    /// have is answered with JSON, as RFC 9110 section 12.5.1 allows.
    pub fn choose(parameter: Option<&str>, headers: &HeaderMap) -> Result<Self, ApiError> {
        match parameter {
            Some("json") => Ok(Self::Json),
            Some("ndjson") => Ok(Self::Ndjson),
            Some("csv") => Ok(Self::Csv),
            Some(other) => {
                let other: String = other.chars().take(80).collect();
                Err(ApiError::BadRequest(format!(
                    "format must be json, ndjson or csv: {other:?}"
                )))
            }
            None => Ok(accepted(headers)),
        }
    }
}

/// What `Accept` likes best of what there is; of equals, the first named.
fn accepted(headers: &HeaderMap) -> Format {
    let mut best = (0.0, Format::Json);
    let accept = headers.get_all(header::ACCEPT).into_iter();
    for range in accept
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
    {
        let mut parts = range.split(';').map(str::trim);
        let format = match parts.next().unwrap_or_default() {
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Format::Ndjson,
            "text/csv" => Format::Csv,
            JSON | "application/*" | "*/*" => Format::Json,
            _ => continue,
        };
        let quality = parts
            .find_map(|part| part.strip_prefix("q="))
            .map_or(1.0, |quality| quality.parse().unwrap_or(0.0));
        if quality > best.0 {
            best = (quality, format);
        }
    }
    best.1
}

/// Answers with a line a row.
///
/// # Errors
/// `Internal` if a row cannot be written as JSON.
pub fn ndjson<T: Serialize>(rows: impl IntoIterator<Item = T>) -> Result<Response, ApiError> {
    let mut lines = Vec::new();
    for row in rows {
        serde_json::to_writer(&mut lines, &row)
            .map_err(|error| ApiError::Internal(error.to_string()))?;
        lines.push(b'\n');
    }
    Ok(typed(NDJSON, lines))
}

fn typed(kind: &'static str, body: impl Into<Body>) -> Response {
    let mut response = body.into().into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    response
}

/// A value in a table.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell<'a> {
    /// Nothing is known: an empty cell.
    Empty,
    /// Text of a stranger's: made harmless for spreadsheets.
    Text(Cow<'a, str>),
    /// A number; not finite ones are empty.
    Number(f64),
    /// A whole number.
    Whole(u64),
    /// A whole number that may be below zero.
    Signed(i64),
    /// `true` or `false`.
    Truth(bool),
}

impl<'a> From<&'a str> for Cell<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Cell<'_> {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<f64> for Cell<'_> {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<u64> for Cell<'_> {
    fn from(number: u64) -> Self {
        Self::Whole(number)
    }
}

impl From<bool> for Cell<'_> {
    fn from(truth: bool) -> Self {
        Self::Truth(truth)
    }
}

impl<'a, T: Into<Cell<'a>>> From<Option<T>> for Cell<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Empty, Into::into)
    }
}

impl<'a> From<&'a serde_json::Value> for Cell<'a> {
    fn from(value: &'a serde_json::Value) -> Self {
        match value {
            serde_json::Value::Null => Self::Empty,
            serde_json::Value::Bool(truth) => Self::Truth(*truth),
            serde_json::Value::String(text) => text.as_str().into(),
            serde_json::Value::Number(number) => number
                .as_u64()
                .map(Self::Whole)
                .or_else(|| number.as_i64().map(Self::Signed))
                .or_else(|| number.as_f64().map(Self::Number))
                .unwrap_or(Self::Empty),
            nested => nested.to_string().into(),
        }
    }
}

/// A table under construction, as RFC 4180 writes it.
#[derive(Debug)]
pub struct Csv {
    text: String,
    n_columns: usize,
}

impl Csv {
    /// A table that has only its columns' names.
    pub fn new<'a>(columns: impl IntoIterator<Item = impl Into<Cell<'a>>>) -> Self {
        let mut table = Self {
            text: String::new(),
            n_columns: 0,
        };
        table.n_columns = table.write(columns);
        table
    }

    /// Adds a row, a cell a column: missing ones are empty.
    pub fn row<'a>(&mut self, cells: impl IntoIterator<Item = impl Into<Cell<'a>>>) {
        let n_cells = self.write(cells);
        debug_assert!(n_cells <= self.n_columns, "a row is wider than its table");
        let end = self.text.len() - "\r\n".len();
        let missing = self.n_columns.saturating_sub(n_cells.max(1));
        self.text.insert_str(end, &",".repeat(missing));
    }

    /// The table's text.
    #[cfg(test)]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Answers with the table; browsers save it under `name`, which holds
    /// letters, digits, `-` and `.` only.
    pub fn into_response(self, name: &'static str) -> Response {
        let mut response = typed(CSV, self.text);
        if let Ok(value) = format!("attachment; filename=\"{name}\"").parse() {
            response
                .headers_mut()
                .insert(header::CONTENT_DISPOSITION, value);
        }
        response
    }

    fn write<'a>(&mut self, cells: impl IntoIterator<Item = impl Into<Cell<'a>>>) -> usize {
        let mut n_cells = 0;
        for cell in cells {
            if n_cells > 0 {
                self.text.push(',');
            }
            self.cell(&cell.into());
            n_cells += 1;
        }
        self.text.push_str("\r\n");
        n_cells
    }

    fn cell(&mut self, cell: &Cell<'_>) {
        match cell {
            Cell::Number(number) if number.is_finite() => self.text += &number.to_string(),
            Cell::Empty | Cell::Number(_) => {}
            Cell::Whole(number) => self.text += &number.to_string(),
            Cell::Signed(number) => self.text += &number.to_string(),
            Cell::Truth(truth) => self.text += if *truth { "true" } else { "false" },
            Cell::Text(text) => self.quote(text),
        }
    }

    /// Writes text so that it is one cell, and text to a spreadsheet too: what
    /// begins as a formula gets an apostrophe before it.
    fn quote(&mut self, text: &str) {
        let is_formula = text.starts_with(FORMULAS);
        if !is_formula && !text.contains([',', '"', '\r', '\n']) {
            self.text += text;
            return;
        }
        self.text.push('"');
        if is_formula {
            self.text.push('\'');
        }
        self.text += &text.replace('"', "\"\"");
        self.text.push('"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn chosen(parameter: Option<&str>, accept: &[&str]) -> Format {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(header::ACCEPT, value.parse().unwrap());
        }
        Format::choose(parameter, &headers).unwrap()
    }

    #[test]
    fn format_is_the_parameters_before_the_headers() {
        for (parameter, accept, expected) in [
            (None, &[][..], Format::Json),
            (None, &["*/*"], Format::Json),
            (None, &["text/html, */*;q=0.8"], Format::Json),
            (None, &["application/x-ndjson"], Format::Ndjson),
            (None, &["text/csv"], Format::Csv),
            (None, &["application/json;q=0.5, text/csv"], Format::Csv),
            (None, &["text/csv;q=0.5", "application/json"], Format::Json),
            (None, &["text/csv;q=0"], Format::Json),
            (None, &["text/csv;q=much"], Format::Json),
            (None, &["image/png"], Format::Json),
            (Some("ndjson"), &["text/csv"], Format::Ndjson),
            (Some("json"), &["text/csv"], Format::Json),
            (Some("csv"), &[], Format::Csv),
        ] {
            assert_eq!(
                chosen(parameter, accept),
                expected,
                "{parameter:?} {accept:?}"
            );
        }
        let error = Format::choose(Some("xml"), &HeaderMap::new()).unwrap_err();
        assert!(error.to_string().contains("json, ndjson or csv"), "{error}");
    }

    #[track_caller]
    fn check(cell: impl Into<Cell<'static>>, expected: &str) {
        let mut table = Csv::new(["a"]);
        table.row([cell]);
        assert_eq!(table.text(), format!("a\r\n{expected}\r\n"));
    }

    #[test]
    fn cells_are_quoted_as_rfc_4180_says() {
        check("plain", "plain");
        check("", "");
        check("two words", "two words");
        check("a,b", "\"a,b\"");
        check("say \"hi\"", "\"say \"\"hi\"\"\"");
        check("one\r\ntwo", "\"one\r\ntwo\"");
        check("größe", "größe");
        check(1.5, "1.5");
        check(-1.5, "-1.5");
        check(u64::MAX, "18446744073709551615");
        check(f64::NAN, "");
        check(None::<f64>, "");
        check(true, "true");
    }

    #[test]
    fn text_that_begins_as_a_formula_is_text() {
        for hostile in [
            "=HYPERLINK(\"http://x\")",
            "+1+1",
            "-2+3",
            "@SUM(A1)",
            "\tx",
            "\rx",
            "＝1",
        ] {
            check(hostile, &format!("\"'{}\"", hostile.replace('"', "\"\"")));
        }
        // Only where a spreadsheet would look.
        check("/a=b", "/a=b");
    }

    #[test]
    fn short_rows_are_filled_up() {
        let mut table = Csv::new(["a", "b", "c"]);
        table.row([1_u64]);
        table.row([1_u64, 2, 3]);
        table.row(Vec::<u64>::new());
        assert_eq!(table.text(), "a,b,c\r\n1,,\r\n1,2,3\r\n,,\r\n");
    }

    #[tokio::test]
    async fn lines_are_a_value_each() {
        let response = ndjson([Some("a\nb"), None]).unwrap();
        assert_eq!(response.headers()[header::CONTENT_TYPE], NDJSON);
        let body = axum::body::to_bytes(response.into_body(), 1_000).await;
        assert_eq!(body.unwrap(), "\"a\\nb\"\nnull\n");
    }
}
