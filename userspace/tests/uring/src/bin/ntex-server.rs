//! ntex on its io_uring runtime: `ntex-server PORT`.
#![forbid(unsafe_code)]

use ntex::web::{App, HttpResponse, HttpServer, Responder, types::Path, types::Payload};
use ntex::{util::BytesMut, web};

async fn item(id: Path<u32>) -> impl Responder {
    match id.into_inner() {
        id if id < 1_000 => HttpResponse::Ok().body(format!("{{\"id\":{id}}}")),
        _ => HttpResponse::NotFound().body("{\"detail\":\"no such item\"}"),
    }
}

async fn predict(mut payload: Payload) -> HttpResponse {
    let mut body = BytesMut::new();
    while let Some(Ok(chunk)) = ntex::util::stream_recv(&mut payload).await {
        body.extend_from_slice(&chunk);
    }
    if body.windows(9).any(|nine| nine == b"no number") {
        HttpResponse::UnprocessableEntity().body("{\"detail\":\"no features\"}")
    } else {
        HttpResponse::Ok().body(format!("{{\"length\":{}}}", body.len()))
    }
}

async fn fail() -> HttpResponse {
    HttpResponse::InternalServerError().body("{\"detail\":\"failed\"}")
}

#[ntex::main]
async fn main() -> std::io::Result<()> {
    let port: u16 = std::env::args()
        .nth(1)
        .and_then(|port| port.parse().ok())
        .expect("ntex-server PORT");
    HttpServer::new(async || {
        App::new()
            .route("/items/{id}", web::get().to(item))
            .route("/predict", web::post().to(predict))
            .route("/fail", web::get().to(fail))
    })
    .workers(2)
    .bind(("0.0.0.0", port))?
    .run()
    .await
}
