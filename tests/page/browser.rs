//! A real Chromium without a window, driven through the DevTools protocol over two pipes.
//!
//! Crates that do this bring about eighty packages; what these tests need of the protocol is JSON with a NUL behind it
//! (`--remote-debugging-pipe`). Nothing waits without a deadline, and nothing is left when a browser is dropped.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use base64::Engine;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::need::chromium;

/// More than anything here takes, also beside other tests.
const DEADLINE: Duration = Duration::from_secs(60);

pub struct Browser {
    child: Child,
    commands: ChildStdin,
    messages: Receiver<Value>,
    session: Option<String>,
    last: u64,
    /// Everything that the browser told by itself.
    pub events: Vec<Value>,
    _profile: TempDir,
}

impl Browser {
    pub fn new() -> Browser {
        let profile = tempfile::tempdir().expect("a directory");
        // What the browser reads is its descriptor 3, what it writes its descriptor 4.
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>/dev/null", "sh"])
            .arg(chromium().expect("Chromium is installed"))
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"])
            .args(["--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let commands = child.stdin.take().expect("a pipe");
        let mut said = BufReader::new(child.stdout.take().expect("a pipe"));
        let (sender, messages) = mpsc::channel();
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while said.read_until(0, &mut message).is_ok_and(|length| length > 0) {
                let value = serde_json::from_slice(&message[..message.len() - 1]).expect("JSON from the browser");
                message.clear();
                if sender.send(value).is_err() {
                    return;
                }
            }
        });
        let mut browser =
            Browser { child, commands, messages, session: None, last: 0, events: Vec::new(), _profile: profile };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }))["targetId"].clone();
        let attached = browser.call("Target.attachToTarget", json!({ "targetId": target, "flatten": true }));
        browser.session = Some(attached["sessionId"].as_str().expect("a session").to_owned());
        for domain in ["Page", "Runtime", "Log", "Network", "Audits"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// One command, and what it gave back.
    #[track_caller]
    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.last += 1;
        let mut message = json!({ "id": self.last, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.commands.write_all(format!("{message}\0").as_bytes()).expect("the browser listens");
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut message = self.messages.recv_timeout(left).unwrap_or_else(|error| panic!("{method}: {error}"));
            if message["id"] == self.last {
                assert!(message["error"].is_null(), "{method}: {}", message["error"]);
                return message["result"].take();
            }
            self.events.push(message);
        }
    }

    /// Opens a page and waits until its script has done what it does at first.
    #[track_caller]
    pub fn open(&mut self, file: &Path, fragment: &str) {
        // A fragment alone would not load it again.
        self.call("Page.navigate", json!({ "url": "about:blank" }));
        let url = format!("file://{}{fragment}", file.display());
        let opened = self.call("Page.navigate", json!({ "url": url }));
        assert!(opened["errorText"].is_null(), "{opened}");
        self.wait("document.documentElement?.dataset.ready === 'yes'");
    }

    /// The value of an expression, after its promise.
    #[track_caller]
    pub fn value(&mut self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let mut evaluated = self.call("Runtime.evaluate", parameters);
        assert!(evaluated["exceptionDetails"].is_null(), "{expression}: {}", evaluated["exceptionDetails"]);
        evaluated["result"]["value"].take()
    }

    #[track_caller]
    pub fn text(&mut self, expression: &str) -> String {
        let value = self.value(expression);
        value.as_str().unwrap_or_else(|| panic!("{expression}: {value}")).to_owned()
    }

    /// Until a condition holds, asked before each frame and at least for as long as the deadline.
    #[track_caller]
    pub fn wait(&mut self, condition: &str) {
        let deadline = Instant::now() + DEADLINE;
        // A page that is still loading loses the question together with its document.
        while self.value(&format!("Boolean({condition})")) != json!(true) {
            assert!(Instant::now() < deadline, "never: {condition}");
            self.value("new Promise(done => setTimeout(done, 5))");
        }
    }

    /// A key, pressed and let go: `Tab`, `Enter`, `Escape`.
    pub fn key(&mut self, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, None),
            "Enter" => (13, Some("\r")),
            "Escape" => (27, None),
            other => panic!("no key {other}"),
        };
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code });
            if let Some(text) = text.filter(|_| kind == "keyDown") {
                event["text"] = json!(text);
            }
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    pub fn write(&mut self, text: &str) {
        self.call("Input.insertText", json!({ "text": text }));
    }

    /// `scheme`: `light` or `dark`.
    pub fn view(&mut self, width: u32, height: u32, scheme: &str) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", size);
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", features);
    }

    /// A picture of what is seen, where ERRNOSCOPE_SCREENSHOTS names a directory for people to look at. Whether there
    /// is one.
    pub fn picture(&mut self, name: &str) -> bool {
        let Some(directory) = std::env::var_os("ERRNOSCOPE_SCREENSHOTS") else { return false };
        let picture = self.call("Page.captureScreenshot", json!({ "format": "png" }));
        let data = picture["data"].as_str().expect("a picture");
        let bytes = base64::engine::general_purpose::STANDARD.decode(data).expect("base64");
        std::fs::write(Path::new(&directory).join(format!("{name}.png")), bytes).expect("written");
        true
    }

    /// What went wrong in the page, or left it: errors, violations, requests for anything but the page itself.
    pub fn complaints(&mut self) -> Vec<String> {
        // What has happened so far has been told before the answer to this.
        self.value("1");
        // That an address was left without a click is what these tests do.
        let by_script = |event: &Value| event.to_string().contains("NavigationEntryMarkedSkippable");
        let own = |event: &Value| match event["method"].as_str()? {
            _ if by_script(event) => None,
            "Runtime.exceptionThrown" | "Audits.issueAdded" | "Page.javascriptDialogOpening" => Some(event.to_string()),
            "Runtime.consoleAPICalled" => Some(event["params"].to_string()),
            "Log.entryAdded" => Some(event["params"]["entry"].to_string()),
            "Network.requestWillBeSent" => {
                let url = event["params"]["request"]["url"].as_str()?;
                let known = ["file:", "data:", "about:"].iter().any(|scheme| url.starts_with(scheme));
                (!known).then(|| url.to_owned())
            }
            _ => None,
        };
        self.events.iter().filter_map(own).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its other processes end with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
