//! `GET /api/v1/export`: a range of history as a file.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use modeltap_store::{ExportFormat, ExportQuery, ExportTable};
use serde::Deserialize;
use tokio::fs::File;
use tokio::io::AsyncReadExt;

use crate::error::ApiError;
use crate::extract::Parameters;
use crate::history::{ask, range};
use crate::query::bad;
use crate::state::Sources;

/// Bytes of an export read at a time.
const CHUNK: usize = 64 * 1024;

/// Parameters of `/export`, as they came.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExportParameters {
    /// What is exported.
    #[param(default = "rollups", example = "events")]
    table: Option<String>,
    /// How it is written.
    #[param(default = "parquet", example = "csv")]
    format: Option<String>,
    /// Only of this service.
    service: Option<String>,
    /// Beginning of the range: Unix milliseconds or RFC 3339; an hour before
    /// `to` if it is left out.
    #[param(pattern = "^([0-9]{1,13}|[0-9]{4}-[0-9]{2}-[0-9]{2}T.*)$")]
    from: Option<String>,
    /// End of the range, likewise; now if it is left out.
    #[param(pattern = "^([0-9]{1,13}|[0-9]{4}-[0-9]{2}-[0-9]{2}T.*)$")]
    to: Option<String>,
}

/// A range of history as a file.
///
/// Parquet has the histograms as they are stored (for each bucket the distance
/// to the one before and the count, as LEB128); CSV and NDJSON are without. At
/// most 1 GiB, written within 25 s; one at a time.
#[utoipa::path(
    get,
    path = "/api/v1/export",
    tag = "history",
    params(ExportParameters),
    responses(
        (
            status = 200,
            description = "The file.",
            content(
                (String = "application/vnd.apache.parquet"),
                (String = "text/csv"),
                (String = "application/x-ndjson"),
            )
        ),
        (status = 500, description = "The history could not be read."),
    )
)]
pub async fn export(
    State(sources): State<Sources>,
    Parameters(parameters): Parameters<ExportParameters>,
) -> Result<Response, ApiError> {
    let table = parameters.table.as_deref().unwrap_or("rollups");
    let table = ExportTable::parse(table)
        .ok_or_else(|| bad("table", table, "rollups, resources, exemplars or events"))?;
    let format = parameters.format.as_deref().unwrap_or("parquet");
    let format = ExportFormat::parse(format)
        .ok_or_else(|| bad("format", format, "parquet, csv or ndjson"))?;
    let (from, to) = range(parameters.from.as_deref(), parameters.to.as_deref())?;
    let query = ExportQuery {
        table,
        format,
        service: parameters.service,
        from,
        to,
    };
    let export = ask(&sources, move |history| history.export(&query)).await?;
    let kind = match format {
        ExportFormat::Parquet => "application/vnd.apache.parquet",
        ExportFormat::Csv => "text/csv; charset=utf-8; header=present",
        ExportFormat::Ndjson => "application/x-ndjson",
    };
    let name = format!(
        "attachment; filename=\"modeltap-{}.{}\"",
        table.as_str(),
        format.as_str()
    );
    let pieces = stream::try_unfold(File::from_std(export.file), |mut file| async move {
        let mut piece = Vec::with_capacity(CHUNK);
        let n_read = (&mut file)
            .take(CHUNK as u64)
            .read_to_end(&mut piece)
            .await?;
        std::io::Result::Ok((n_read > 0).then_some((piece, file)))
    });
    let mut response = Body::from_stream(pieces).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CONTENT_LENGTH, export.n_bytes.into());
    if let Ok(name) = HeaderValue::from_str(&name) {
        headers.insert(header::CONTENT_DISPOSITION, name);
    }
    Ok(response)
}
