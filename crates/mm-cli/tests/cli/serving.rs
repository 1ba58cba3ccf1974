//! `mm serve` as a process: where it listens, what it refuses, how it ends, and that the official
//! Python client works with it unchanged.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::roads::trained;
use crate::{device, model, refused};

/// A server that runs; dropping it ends it.
struct Server {
    process: Child,
    /// `127.0.0.1:PORT`.
    address: String,
    /// The line that it printed.
    line: String,
}

impl Server {
    /// Starts a server on a free port.
    fn start(args: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_mm"))
            .env("MM_DEVICE", device())
            .args(["serve", "--port", "0", "--device", device()])
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.split("http://").nth(1).and_then(|rest| rest.split(' ').next());
        let address = address.unwrap_or_else(|| panic!("no address in `{line}`")).to_owned();
        Self { process, address, line }
    }

    /// Sends a request and returns the whole answer, headers included.
    fn ask(&self, request: &str, headers: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let (address, length) = (&self.address, body.len());
        write!(
            stream,
            "{request} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
             content-length: {length}\r\n{headers}\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[cfg(unix)]
    fn terminate(&mut self) -> Option<i32> {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.process.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill(); // it may have ended already
        let _ = self.process.wait();
    }
}

const JSON: &str = "content-type: application/json\r\n";

#[cfg(unix)]
#[test]
fn a_server_says_where_it_listens_and_ends_well_when_it_is_told_to() {
    let mut server = Server::start(&[&model()]);
    assert!(server.line.ends_with("(models: run)\n"), "{}", server.line);
    let listed = server.ask("GET /v1/models", "", "");
    assert!(listed.starts_with("HTTP/1.1 200") && listed.contains("\"id\":\"run\""), "{listed}");
    let body = r#"{"messages": [{"role": "user", "content": "a"}], "max_tokens": 3}"#;
    let answer = server.ask("POST /v1/chat/completions", JSON, body);
    assert!(answer.contains("\"object\":\"chat.completion\""), "{answer}");

    // What is running when the signal comes is finished.
    let mut stream = TcpStream::connect(&server.address).unwrap();
    let body = r#"{"prompt": "a", "steps": 40, "stream": true, "partial_images": 3}"#;
    let head = format!("POST /v1/images/generations HTTP/1.1\r\nhost: localhost\r\n{JSON}");
    write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut first = [0; 16];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(server.terminate(), Some(0));
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("event: image_generation.completed"), "{rest}");
}

#[test]
fn a_key_file_lets_in_who_has_a_key() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys.txt");
    fs_err::write(&keys, "# mine\nsecret-of-mine\n").unwrap();
    let named = format!("letters={}", model());
    let server = Server::start(&[&named, "--api-key-file", keys.to_str().unwrap()]);
    assert!(server.line.ends_with("(models: letters)\n"), "{}", server.line);
    assert!(server.ask("GET /v1/models", "", "").starts_with("HTTP/1.1 401"));
    let key = "authorization: Bearer secret-of-mine\r\n";
    assert!(server.ask("GET /v1/models", key, "").starts_with("HTTP/1.1 200"));
    assert!(server.ask("GET /healthz", "", "").starts_with("HTTP/1.1 200"));
}

#[test]
fn a_site_is_written_whole_and_served_without_a_key() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (wasm, site, keys) = (at("wasm"), at("site"), at("keys"));
    let export = |more: &[&str]| {
        let model = model();
        let args = ["export", "web", &model, "--wasm", &wasm, "--out", &site];
        [&args, more].concat().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let words = |args: &[String]| refused(1, &args.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(words(&export(&[])).contains("cargo xtask web"), "no word of what compiles");

    fs_err::create_dir_all(&wasm).unwrap();
    for name in ["mm_web.js", "mm_web_bg.wasm"] {
        fs_err::write(Path::new(&wasm).join(name), "program").unwrap();
    }
    let weights = |args: &[String]| {
        assert!(Command::new(env!("CARGO_BIN_EXE_mm")).args(args).status().unwrap().success());
        fs_err::metadata(Path::new(&site).join("models/0/model.safetensors")).unwrap().len()
    };
    let (half, whole) = (weights(&export(&[])), weights(&export(&["--weights", "f32", "--force"])));
    assert!(half > whole / 2 - 10_000 && half < whole / 2 + 10_000, "{half} of {whole} bytes");

    fs_err::write(&keys, "secret-of-mine\n").unwrap();
    let server = Server::start(&[&model(), "--site", &site, "--api-key-file", &keys]);
    let page = server.ask("GET /local/", "", "");
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("data-engine=\"local\""), "{page}");
    let program = server.ask("GET /local/wasm/mm_web_bg.wasm", "", "");
    assert!(program.contains("application/wasm") && program.ends_with("program"), "{program}");
    assert!(server.ask("GET /v1/models", "", "").starts_with("HTTP/1.1 401"));
}

#[test]
fn a_codec_is_not_served() {
    let folder = tempfile::tempdir().unwrap();
    let codec = trained("codec-kl", &folder.path().join("kl"));
    let said = refused(2, &["serve", &codec, "--port", "0"]);
    assert!(said.contains("is a codec, wanted a model of patches, codes or bytes"), "{said}");
}

#[test]
fn what_would_be_unsafe_or_unclear_is_refused_before_anything_is_loaded() {
    let said = refused(2, &["serve", &model(), "--host", "0.0.0.0"]);
    assert!(said.contains("--api-key-file") && said.contains("--insecure"), "{said}");
    let said = refused(2, &["serve", &model(), &model()]);
    assert!(said.contains("both named `run`"), "{said}");
    refused(2, &["serve", &model(), "--host", "example.org"]);
    refused(2, &["serve", &model(), "--cors-origin", "*"]);
    refused(2, &["serve", &model(), "--queue", "0"]);
    refused(2, &["serve"]);
    refused(1, &["serve", "no/such/folder", "--port", "0"]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let said = refused(1, &["serve", &model(), "--port", &port]);
    assert!(said.contains("cannot listen on"), "{said}");
}

/// Returns a program of the folder that `xtask/scripts/install-clients.sh` filled, if it is there.
fn client(path: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("MM_CLIENTS").map(PathBuf::from);
    let found = folder.map(|folder| folder.join(path)).filter(|path| path.exists());
    if found.is_none() {
        let how = "`bash xtask/scripts/install-clients.sh DIR` and MM_CLIENTS=DIR";
        eprintln!("not run: there is no `{path}` in a folder MM_CLIENTS; {how}");
    }
    found
}

/// Returns a script of `tests/reference`.
fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference").join(name)
}

/// Runs a client and returns what it printed, one `ok` for each call that did what it must.
fn calls(mut client: Command) -> String {
    let output = client.output().unwrap();
    let (said, why) = (crate::text(&output.stdout), crate::text(&output.stderr));
    assert!(output.status.success(), "{said}{why}");
    said.to_owned()
}

#[test]
fn the_official_python_client_works_unchanged() {
    let Some(python) = client("python/bin/python") else { return };
    let server = Server::start(&[&model()]);
    let mut client = Command::new(python);
    client.arg(script("openai_client.py")).arg(format!("http://{}/v1", server.address));
    let said = calls(client);
    assert_eq!(said.lines().filter(|line| line.starts_with("ok ")).count(), 9, "{said}");
}

#[test]
fn the_official_npm_client_works_unchanged() {
    let Some(modules) = client("node_modules/openai") else { return };
    let server = Server::start(&[&model()]);
    // Packages are looked for beside the script.
    let beside = modules.parent().unwrap().parent().unwrap().join("openai_client.mjs");
    fs_err::copy(script("openai_client.mjs"), &beside).unwrap();
    let mut client = Command::new("node");
    client.arg(beside).arg(format!("http://{}/v1", server.address));
    let said = calls(client);
    assert!(said.lines().filter(|line| line.starts_with("ok ")).count() >= 8, "{said}");
}

/// How many requests the server answered with a status, as `/metrics` counts them.
fn answered(server: &Server, endpoint: &str, status: &str) -> u64 {
    let text = server.ask("GET /metrics", "", "");
    let of = |line: &&str| line.contains(endpoint) && line.contains(status);
    let number = |line: &str| line.rsplit(' ').next()?.parse::<u64>().ok();
    text.lines().filter(of).filter_map(number).sum()
}

/// The program schemathesis makes requests from the server's own description: such as it allows,
/// and such as it does not.
#[test]
fn no_request_that_a_program_makes_of_the_description_is_answered_outside_of_it() {
    let Some(python) = client("python/bin/schemathesis") else { return };
    let server = Server::start(&[
        &model(),
        "--limit-steps",
        "3",
        "--limit-drawn",
        "2",
        "--limit-tokens",
        "20",
    ]);
    let mut client = Command::new(python);
    client.args(["run", &format!("http://{}/openapi.json", server.address)]);
    client.args(["--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"]);
    client.args(["--phases", "examples,coverage,fuzzing", "-n", "20", "--seed", "1"]);
    client.args(["--generation-database", "none", "--no-color"]);
    let folder = tempfile::tempdir().unwrap();
    client.current_dir(folder.path());
    calls(client);
    for (endpoint, least) in [
        ("chat/completions", 5),
        ("images/generations", 5),
        ("images/edits", 1),
        ("images/variations", 1),
        ("v1/responses", 1),
    ] {
        let good = answered(&server, endpoint, "\"200\"");
        assert!(good >= least, "{good} requests of {endpoint} were right ones");
    }
}

#[test]
fn every_flow_of_the_page_works_in_a_browser() {
    let Some(modules) = client("node_modules/playwright-core") else { return };
    let server = Server::start(&[&model()]);
    let shots = tempfile::tempdir().unwrap();
    let mut client = Command::new("node");
    client.env("MM_PAGE_TOOLS", modules.parent().unwrap().parent().unwrap());
    client.arg(script("page_flows.mjs")).arg(format!("http://{}", server.address));
    client.arg(shots.path());
    calls(client);
}
