//! A keep-alive HTTP/1.1 connection to one server.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Any failure of a request: what matters is only that it failed.
pub type ClientError = Box<dyn Error + Send + Sync>;

/// How long connecting and a whole exchange may take.
const DEADLINE: Duration = Duration::from_secs(20);

/// One connection; dropping it closes the socket, also in mid-response.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    /// Connects to `server`.
    ///
    /// # Errors
    /// When the server does not accept within the deadline.
    pub async fn open(server: SocketAddr) -> Result<Self, ClientError> {
        let stream = timeout(DEADLINE, TcpStream::connect(server)).await??;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // The driver's error reaches the caller through `sender` as well.
        let driver = tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Self { sender, driver })
    }

    /// Sends a request, with a JSON `body` unless it is empty, and waits for
    /// the response's head.
    ///
    /// # Errors
    /// When the connection fails or the deadline passes.
    pub async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: String,
    ) -> Result<Response<Incoming>, ClientError> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "demo")
            .header("user-agent", "modeltap-demo");
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        let request = request.body(Full::new(Bytes::from(body)))?;
        timeout(DEADLINE, self.sender.ready()).await??;
        Ok(timeout(DEADLINE, self.sender.send_request(request)).await??)
    }

    /// Sends a request and reads the whole response; returns its status.
    ///
    /// # Errors
    /// As [`Connection::send`].
    pub async fn exchange(
        &mut self,
        method: Method,
        path: &str,
        body: String,
    ) -> Result<u16, ClientError> {
        let response = self.send(method, path, body).await?;
        let status = response.status().as_u16();
        let mut body = response.into_body();
        while let Some(frame) = timeout(DEADLINE, body.frame()).await? {
            frame?;
        }
        Ok(status)
    }
}
