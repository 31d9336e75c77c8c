//! A headless Chromium that ends with the test, by the WebDriver protocol.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use modeltap_testbed::client::{Connection, Request};
use modeltap_testbed::clock::{await_some, await_that};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Where pictures of the pages go.
const SCREENSHOTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/screenshots");
/// Longest wait for Chromium to start, and for something to click on.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest run of a script, and of loading a page, in milliseconds: axe takes
/// seconds, many more where others use the processor too.
const SCRIPT_LIMIT_MS: u64 = 55_000;

/// Chromium's flags: no sandbox for root, nothing that asks the network.
const FLAGS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
];

/// The colours that the page is asked to prefer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Dark,
    Light,
}

impl Scheme {
    fn name(self) -> &'static str {
        match self {
            Self::Dark => "dark",
            Self::Light => "light",
        }
    }
}

/// A browser with one page.
pub struct Browser {
    driver: Child,
    driver_address: SocketAddr,
    /// Its path at the driver; empty before it is open.
    session: String,
    scratch: TempDir,
}

impl Browser {
    pub fn start() -> Self {
        let scratch = tempfile::tempdir().expect("a temporary directory can be made");
        let log = scratch.path().join("driver.log");
        let driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(File::create(&log).expect("the log can be made"))
            .stderr(Stdio::null())
            // Its own group, so that a Chromium it leaves behind is found.
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("start chromedriver: {error}; install chromium-driver"));
        let driver_address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut browser = Self {
            driver,
            driver_address,
            session: String::new(),
            scratch,
        };
        let port = await_some("chromedriver's port", PATIENCE, || port_told(&log));
        browser.driver_address.set_port(port);

        let profile = format!(
            "--user-data-dir={}",
            browser.scratch.path().join("p").display()
        );
        let flags: Vec<_> = FLAGS.into_iter().chain([profile.as_str()]).collect();
        let capabilities = json!({
            "goog:chromeOptions": { "args": flags },
            "goog:loggingPrefs": { "browser": "ALL" },
            "timeouts": { "script": SCRIPT_LIMIT_MS, "pageLoad": SCRIPT_LIMIT_MS },
        });
        let asked = json!({ "capabilities": { "alwaysMatch": capabilities } });
        let session = browser.command("POST", "/session", Some(&asked));
        let id = session["sessionId"].as_str().expect("a session has an id");
        browser.session = format!("/session/{id}");
        browser
    }

    #[track_caller]
    pub fn open(&self, url: &str) {
        self.post("url", &json!({ "url": url }));
    }

    /// What a function's body returns.
    #[track_caller]
    pub fn evaluate(&self, body: &str) -> Value {
        self.post("execute/sync", &json!({ "script": body, "args": [] }))
    }

    /// What a function's body hands to `done`.
    #[track_caller]
    pub fn evaluate_later(&self, body: &str) -> Value {
        let script = format!("const done = arguments[0]; {body}");
        self.post("execute/async", &json!({ "script": script, "args": [] }))
    }

    /// The visible text of the first element that a selector finds.
    pub fn text(&self, selector: &str) -> Option<String> {
        let body = format!(
            "return document.querySelector({})?.innerText",
            json!(selector)
        );
        self.evaluate(&body).as_str().map(str::to_owned)
    }

    /// Whether an element is there and takes room.
    pub fn shows(&self, selector: &str) -> bool {
        let selector = json!(selector);
        let body = format!(
            "const r = document.querySelector({selector})?.getBoundingClientRect();\
             return !!r && r.width > 0 && r.height > 0"
        );
        self.evaluate(&body) == json!(true)
    }

    /// Clicks on the first element that a selector finds, as soon as it is
    /// there: parts of a page are made anew with every answer.
    #[track_caller]
    pub fn click(&self, selector: &str) {
        let body = format!(
            "const e = document.querySelector({}); e?.click(); return !!e",
            json!(selector)
        );
        let clicked = || self.evaluate(&body) == json!(true);
        await_that(&format!("{selector} to click on"), PATIENCE, clicked);
    }

    /// Chooses a value in the first list that a selector finds.
    #[track_caller]
    pub fn choose(&self, selector: &str, value: &str) {
        self.evaluate(&format!(
            "const e = document.querySelector({}); e.value = {};\
             e.dispatchEvent(new Event('change', {{ bubbles: true }}))",
            json!(selector),
            json!(value)
        ));
    }

    /// Presses keys as a person would, one after the other, whatever has the
    /// focus; `Escape` is one key, and so is any other single character.
    #[track_caller]
    pub fn press(&self, keys: &[&str]) {
        // At once: a pause of the driver's would be one between the keys.
        self.evaluate(&format!(
            "for (const key of {}) document.activeElement.dispatchEvent(\
               new KeyboardEvent('keydown', {{ key, bubbles: true, cancelable: true }}))",
            json!(keys)
        ));
    }

    /// Gives the page a size and a colour scheme.
    pub fn view(&self, width: u32, height: u32, scheme: Scheme) {
        let size =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", &size);
        let colours = json!({ "name": "prefers-color-scheme", "value": scheme.name() });
        self.devtools(
            "Emulation.setEmulatedMedia",
            &json!({ "features": [colours] }),
        );
    }

    /// Keeps a picture of the page as `NAME-WIDTH-SCHEME.png`.
    pub fn screenshot(&self, name: &str, width: u32, scheme: Scheme) {
        let picture = self.command("GET", &format!("{}/screenshot", self.session), None);
        let picture = base64(picture.as_str().expect("a picture is text"));
        fs::create_dir_all(SCREENSHOTS).expect("the folder of pictures can be made");
        let file = format!("{name}-{width}-{}.png", scheme.name());
        fs::write(Path::new(SCREENSHOTS).join(file), picture).expect("a picture can be written");
    }

    /// What the page complained of since this was asked last.
    pub fn complaints(&self) -> Vec<String> {
        let entries = self.post("se/log", &json!({ "type": "browser" }));
        let entries = entries.as_array().cloned().unwrap_or_default();
        let severe = entries
            .into_iter()
            .filter(|entry| entry["level"] == "SEVERE");
        severe.map(|entry| entry["message"].to_string()).collect()
    }

    /// Gives a command of the DevTools protocol, and hands out its answer.
    #[track_caller]
    pub fn devtools(&self, command: &str, parameters: &Value) -> Value {
        self.post(
            "goog/cdp/execute",
            &json!({ "cmd": command, "params": parameters }),
        )
    }

    #[track_caller]
    fn post(&self, path: &str, body: &Value) -> Value {
        self.command("POST", &format!("{}/{path}", self.session), Some(body))
    }

    #[track_caller]
    fn command(&self, method: &'static str, path: &str, body: Option<&Value>) -> Value {
        let body = body.map(Value::to_string);
        let request = Request {
            method,
            path: path.to_owned(),
            body,
            close: true,
            chunked: false,
        };
        let mut connection = Connection::open(self.driver_address).expect("the driver listens");
        connection
            .send(&request)
            .expect("the driver takes a request");
        let response = connection.receive().expect("the driver answers");
        assert_eq!(response.status, 200, "{method} {path}: {}", response.text());
        let mut answer: Value =
            serde_json::from_str(&response.text()).expect("the driver answers in JSON");
        answer["value"].take()
    }

    /// Asks Chromium to end; it may have crashed.
    fn close(&self) -> std::io::Result<()> {
        let path = self.session.clone();
        let request = Request {
            method: "DELETE",
            path,
            body: None,
            close: true,
            chunked: false,
        };
        let mut connection = Connection::open(self.driver_address)?;
        connection.send(&request)?;
        connection.receive().map(drop)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Also after a panic: a session that stays open is a Chromium that
        // stays behind.
        let _ = self.close();
        let group = i32::try_from(self.driver.id()).expect("process ids are positive");
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        let _ = self.driver.wait();
    }
}

/// The bytes of padded base64 (RFC 4648 section 4).
fn base64(text: &str) -> Vec<u8> {
    let digit = |character: u8| match character {
        b'A'..=b'Z' => Some(character - b'A'),
        b'a'..=b'z' => Some(character - b'a' + 26),
        b'0'..=b'9' => Some(character - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for group in text.as_bytes().chunks(4) {
        let digits: Vec<u8> = group
            .iter()
            .filter_map(|character| digit(*character))
            .collect();
        let bits = digits
            .iter()
            .fold(0_u32, |bits, digit| bits << 6 | u32::from(*digit));
        let bits = bits << (6 * (4 - digits.len()));
        let n = (digits.len() * 6 / 8).min(3);
        bytes.extend_from_slice(&bits.to_be_bytes()[1..=n]);
    }
    bytes
}

/// The port in `ChromeDriver was started successfully on port 41235.`
fn port_told(log: &Path) -> Option<u16> {
    let log = fs::read_to_string(log).ok()?;
    let (_, told) = log.split_once("started successfully on port ")?;
    told.split_once('.')?.0.parse().ok()
}
