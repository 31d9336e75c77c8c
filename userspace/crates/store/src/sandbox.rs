//! SQL of the user's, which may read history and nothing else.
//!
//! Three fences, none of which looks at the text: DuckDB's own parser makes a
//! tree of the statement, and only a single SELECT has one; every table and
//! function in the tree must be allowed; and what is run is written anew from
//! that tree. Beneath them the database reaches no file outside its directory
//! and takes no settings (see [`crate::schema::connect`]). A watch ends what
//! takes too long or too much memory.

use std::collections::HashSet;
use std::fs;
use std::time::{Duration, Instant};

use duckdb::Connection;
use duckdb::arrow::array::{Array, ArrayRef, AsArray};
use duckdb::arrow::datatypes::{
    DataType, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimeUnit, TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use duckdb::arrow::util::display::{ArrayFormatter, FormatOptions};
use jiff::Timestamp;
use serde_json::Value;

use crate::query::QueryError;
use crate::reader::Reader;
use crate::watch;

/// Longest statement, in bytes.
pub const MAX_SQL_BYTES: usize = 16 << 10;
/// Rows of an answer.
pub const MAX_SQL_ROWS: usize = 10_000;
/// Text of an answer, in bytes: beyond it rows are left out.
const MAX_ANSWER_BYTES: usize = 16 << 20;
/// Longest a statement may take.
const TIME_LIMIT: Duration = Duration::from_secs(5);
/// Memory that the process may grow by meanwhile. DuckDB's own limit does not
/// know of texts under construction.
const MEMORY_LIMIT: u64 = 192 << 20;

/// Functions that make rows from their arguments alone.
const TABLE_FUNCTIONS: [&str; 3] = ["generate_series", "range", "unnest"];
/// Functions that have an effect by DuckDB's own account, but none that lasts.
const HARMLESS: [&str; 7] = [
    "current_query",
    "error",
    "gen_random_uuid",
    "random",
    "uuid",
    "uuidv4",
    "uuidv7",
];
/// Functions that tell of the daemon instead of its history, or whose argument
/// says how large a value they make.
const REFUSED: [&str; 14] = [
    "array_resize",
    "bar",
    "current_setting",
    "format",
    "generate_series",
    "getenv",
    "getvariable",
    "list_resize",
    "lpad",
    "printf",
    "range",
    "repeat",
    "rpad",
    "write_log",
];
/// What of the catalogue may be read.
const CATALOGUE: [&str; 2] = ["columns", "tables"];

/// The answer to a statement.
#[derive(Clone, Debug, PartialEq)]
pub struct SqlAnswer {
    /// Names and DuckDB types of the columns.
    pub columns: Vec<(String, String)>,
    /// At most [`MAX_SQL_ROWS`], each with a value a column.
    pub rows: Vec<Vec<SqlValue>>,
    /// Whether there were more.
    pub truncated: bool,
    /// How long it took.
    pub elapsed: Duration,
}

/// A value of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum SqlValue {
    /// None.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A whole number beyond the signed ones.
    Unsigned(u64),
    /// Any other number.
    Float(f64),
    /// Everything else: times in RFC 3339, blobs in hexadecimal.
    Text(String),
}

impl Reader {
    /// Answers one SELECT over history.
    ///
    /// # Errors
    /// The statement is no single SELECT, asks for something that is not
    /// history, is wrong, takes too long or too much memory; another one runs;
    /// or the database cannot be read now.
    pub fn sql(&self, sql: &str) -> Result<SqlAnswer, QueryError> {
        if sql.len() > MAX_SQL_BYTES {
            let text = format!("a statement has at most {MAX_SQL_BYTES} bytes");
            return Err(QueryError::Invalid(text));
        }
        let began = Instant::now();
        let before = resident_bytes();
        let connection = self.shared.sandbox.take()?;
        let is_over = || {
            if began.elapsed() > TIME_LIMIT {
                Some(QueryError::TooSlow(TIME_LIMIT))
            } else if resident_bytes() > before.saturating_add(MEMORY_LIMIT) {
                Some(QueryError::TooLarge)
            } else {
                None
            }
        };
        watch::until(is_over, &connection, || {
            let checked = check(&connection, sql)?;
            run(&connection, &checked, began)
        })
    }
}

/// The process's memory; zero where the kernel does not tell.
fn resident_bytes() -> u64 {
    const PAGE: u64 = 4096;
    let pages = fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|statm| {
            let pages = statm.split(' ').nth(1)?;
            pages.parse::<u64>().ok()
        });
    pages.unwrap_or(0) * PAGE
}

fn invalid<T>(text: impl Into<String>) -> Result<T, QueryError> {
    Err(QueryError::Invalid(text.into()))
}

/// What DuckDB says of a statement of the user's is the user's to read.
fn of_statement(error: duckdb::Error) -> QueryError {
    let text = error.to_string();
    if text.starts_with("Out of Memory Error") {
        QueryError::TooLarge
    } else {
        // The remedies that follow are for who runs the database.
        let text = text.split("\n\n").next().unwrap_or_default();
        QueryError::Invalid(text.to_owned())
    }
}

/// The statement written anew from its tree, if everything in it is allowed.
fn check(connection: &Connection, sql: &str) -> Result<String, QueryError> {
    let tree: String = connection
        .query_row("SELECT json_serialize_sql($1::VARCHAR)", [sql], |row| {
            row.get(0)
        })
        .map_err(of_statement)?;
    let Ok(parsed) = serde_json::from_str::<Value>(&tree) else {
        return invalid("the statement is nested too deeply");
    };
    if parsed["error"] == Value::Bool(true) {
        let message = parsed["error_message"].as_str().unwrap_or_default();
        return match parsed["error_type"].as_str() {
            Some("not implemented") => invalid("only a SELECT is answered"),
            _ => invalid(message),
        };
    }
    if parsed["statements"].as_array().map(Vec::len) != Some(1) {
        return invalid("one statement is answered at a time");
    }
    let mut named = Named::default();
    named.visit(&parsed["statements"]);
    let known = names(
        connection,
        "SELECT table_name FROM duckdb_tables() WHERE NOT internal \
         UNION ALL SELECT view_name FROM duckdb_views() WHERE NOT internal",
    )?;
    let effects = names(
        connection,
        "SELECT DISTINCT function_name FROM duckdb_functions() WHERE has_side_effects",
    )?;
    for table in &named.tables {
        if !table.is_allowed(&known, &named.ctes) {
            return invalid(format!("there is no table {:?} in history", table.name));
        }
    }
    for function in &named.table_functions {
        if !TABLE_FUNCTIONS.contains(&function.as_str()) {
            return invalid(format!("the function {function:?} is not answered in FROM"));
        }
    }
    for function in &named.functions {
        let name = function.as_str();
        let has_effect = effects.contains(name) && !HARMLESS.contains(&name);
        if has_effect || REFUSED.contains(&name) {
            return invalid(format!("the function {name:?} is not answered"));
        }
    }
    let anew = connection
        .query_row("SELECT json_deserialize_sql($1::JSON)", [tree], |row| {
            row.get(0)
        })
        .map_err(of_statement)?;
    Ok(anew)
}

fn names(connection: &Connection, sql: &str) -> Result<HashSet<String>, QueryError> {
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
    let names = rows.map(|name| name.map(|name| name.to_lowercase()));
    Ok(names.collect::<duckdb::Result<_>>()?)
}

/// What a statement names.
#[derive(Default)]
struct Named {
    tables: Vec<Table>,
    table_functions: Vec<String>,
    functions: Vec<String>,
    ctes: HashSet<String>,
}

struct Table {
    catalog: String,
    schema: String,
    name: String,
}

impl Table {
    fn is_allowed(&self, known: &HashSet<String>, ctes: &HashSet<String>) -> bool {
        // A name with a dot or a slash could be a file's.
        let is_cte = ctes.contains(&self.name) && !self.name.contains(['.', '/']);
        match (self.catalog.as_str(), self.schema.as_str()) {
            ("", "") => known.contains(&self.name) || is_cte,
            ("", "main") => known.contains(&self.name),
            ("", "information_schema") => CATALOGUE.contains(&self.name.as_str()),
            _ => false,
        }
    }
}

impl Named {
    /// Walks a tree that is as deep as `serde_json` reads.
    fn visit(&mut self, value: &Value) {
        match value {
            Value::Array(values) => values.iter().for_each(|value| self.visit(value)),
            Value::Object(fields) => {
                let text = |name: &str| {
                    let text = fields.get(name).and_then(Value::as_str);
                    text.unwrap_or_default().to_lowercase()
                };
                match text("type").as_str() {
                    "base_table" => self.table(&text),
                    "show_ref" => {
                        let is_list = matches!(text("table_name").trim_matches('"'), "" | "tables");
                        if !is_list {
                            self.table(&text);
                        }
                    }
                    "table_function" => {
                        if let Some(function) = fields.get("function") {
                            let name = function["function_name"].as_str().unwrap_or_default();
                            self.table_functions.push(name.to_lowercase());
                            self.visit(&function["children"]);
                        }
                        return;
                    }
                    _ => {}
                }
                if fields.contains_key("function_name") {
                    self.functions.push(text("function_name"));
                }
                if let Some(ctes) = fields.get("cte_map") {
                    let ctes = ctes["map"].as_array().into_iter().flatten();
                    let keys = ctes.filter_map(|cte| cte["key"].as_str());
                    self.ctes.extend(keys.map(str::to_lowercase));
                }
                if text("type") == "recursive_cte_node" {
                    self.ctes.insert(text("cte_name"));
                }
                fields.values().for_each(|value| self.visit(value));
            }
            _ => {}
        }
    }

    fn table(&mut self, text: &impl Fn(&str) -> String) {
        self.tables.push(Table {
            catalog: text("catalog_name"),
            schema: text("schema_name"),
            name: text("table_name"),
        });
    }
}

fn run(connection: &Connection, sql: &str, began: Instant) -> Result<SqlAnswer, QueryError> {
    let limited = format!("SELECT * FROM ({sql}) LIMIT {}", MAX_SQL_ROWS + 1);
    let mut statement = connection.prepare(&limited).map_err(of_statement)?;
    let batches = statement.query_arrow([]).map_err(of_statement)?;
    let columns = batches.get_schema();
    let columns = columns.fields().iter();
    let mut answer = SqlAnswer {
        columns: columns
            .map(|field| (field.name().clone(), type_name(field.data_type())))
            .collect(),
        rows: Vec::new(),
        truncated: false,
        elapsed: Duration::ZERO,
    };
    let mut n_bytes = 0;
    'rows: for batch in batches {
        for row in 0..batch.num_rows() {
            let values = batch.columns().iter().map(|column| value(column, row));
            let values = values.collect::<Vec<_>>();
            for value in &values {
                n_bytes += match value {
                    SqlValue::Text(text) => text.len() + size_of::<SqlValue>(),
                    _ => size_of::<SqlValue>(),
                };
            }
            if answer.rows.len() == MAX_SQL_ROWS || n_bytes > MAX_ANSWER_BYTES {
                answer.truncated = true;
                break 'rows;
            }
            answer.rows.push(values);
        }
    }
    answer.elapsed = began.elapsed();
    Ok(answer)
}

/// The type's name as DuckDB has it.
fn type_name(kind: &DataType) -> String {
    match kind {
        DataType::Null => "\"NULL\"",
        DataType::Boolean => "BOOLEAN",
        DataType::Int8 => "TINYINT",
        DataType::Int16 => "SMALLINT",
        DataType::Int32 => "INTEGER",
        DataType::Int64 => "BIGINT",
        DataType::UInt8 => "UTINYINT",
        DataType::UInt16 => "USMALLINT",
        DataType::UInt32 => "UINTEGER",
        DataType::UInt64 => "UBIGINT",
        DataType::Float32 => "FLOAT",
        DataType::Float64 => "DOUBLE",
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "VARCHAR",
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "BLOB",
        DataType::Date32 => "DATE",
        DataType::Time64(_) => "TIME",
        DataType::Timestamp(_, None) => "TIMESTAMP",
        DataType::Timestamp(_, Some(_)) => "TIMESTAMP WITH TIME ZONE",
        DataType::Interval(_) => "INTERVAL",
        DataType::Decimal128(38, 0) => "HUGEINT",
        DataType::Decimal128(width, scale) => return format!("DECIMAL({width},{scale})"),
        DataType::List(item) => return format!("{}[]", type_name(item.data_type())),
        DataType::Struct(_) => "STRUCT",
        DataType::Map(..) => "MAP",
        other => return other.to_string(),
    }
    .to_owned()
}

fn value(column: &ArrayRef, row: usize) -> SqlValue {
    macro_rules! number {
        ($kind:ty, $variant:ident) => {
            SqlValue::$variant(column.as_primitive::<$kind>().value(row).into())
        };
    }
    if column.is_null(row) {
        return SqlValue::Null;
    }
    match column.data_type() {
        DataType::Null => SqlValue::Null,
        DataType::Boolean => SqlValue::Bool(column.as_boolean().value(row)),
        DataType::Int8 => number!(Int8Type, Integer),
        DataType::Int16 => number!(Int16Type, Integer),
        DataType::Int32 => number!(Int32Type, Integer),
        DataType::Int64 => number!(Int64Type, Integer),
        DataType::UInt8 => number!(UInt8Type, Integer),
        DataType::UInt16 => number!(UInt16Type, Integer),
        DataType::UInt32 => number!(UInt32Type, Integer),
        DataType::UInt64 => whole(column.as_primitive::<UInt64Type>().value(row).into()),
        DataType::Float32 => number!(Float32Type, Float),
        DataType::Float64 => number!(Float64Type, Float),
        DataType::Decimal128(_, 0) => whole(column.as_primitive::<Decimal128Type>().value(row)),
        DataType::Decimal128(_, scale) => {
            let unscaled = column.as_primitive::<Decimal128Type>().value(row);
            SqlValue::Float(unscaled as f64 / 10_f64.powi(i32::from(*scale)))
        }
        DataType::Utf8 => SqlValue::Text(column.as_string::<i32>().value(row).to_owned()),
        DataType::Binary => {
            let bytes = column.as_binary::<i32>().value(row);
            SqlValue::Text(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let us = column.as_primitive::<TimestampMicrosecondType>().value(row);
            let text = Timestamp::from_microsecond(us).map_or(us.to_string(), |at| at.to_string());
            SqlValue::Text(text)
        }
        _ => {
            let options = FormatOptions::default();
            let text = ArrayFormatter::try_new(column.as_ref(), &options)
                .map(|formatter| formatter.value(row).to_string());
            SqlValue::Text(text.unwrap_or_else(|error| error.to_string()))
        }
    }
}

fn whole(number: i128) -> SqlValue {
    if let Ok(signed) = i64::try_from(number) {
        SqlValue::Integer(signed)
    } else if let Ok(unsigned) = u64::try_from(number) {
        SqlValue::Unsigned(unsigned)
    } else {
        SqlValue::Text(number.to_string())
    }
}

#[cfg(test)]
mod tests {
    use crate::schema::connect;

    #[test]
    fn files_outside_are_beyond_the_database_itself() {
        let directory = tempfile::tempdir().unwrap();
        let inside = directory.path().join("inside.csv");
        let connection = connect(&directory.path().join("it's.duckdb"), 64 << 20, 1).unwrap();
        for sql in [
            "SELECT * FROM read_text('/etc/passwd')",
            "COPY (SELECT 1) TO '/tmp/modeltap-sandbox-test.csv'",
            "ATTACH '/tmp/modeltap-sandbox-test.duckdb'",
            "SET enable_external_access = true",
            "SET memory_limit = '10GB'",
            "INSTALL httpfs",
            "LOAD httpfs",
        ] {
            assert!(connection.execute_batch(sql).is_err(), "{sql}");
        }
        let sql = format!("COPY (SELECT 1) TO '{}'", inside.display());
        connection.execute_batch(&sql).unwrap();
        connection
            .execute_batch("CREATE TABLE t (a INTEGER); CHECKPOINT")
            .unwrap();
    }
}
