//! What the server bears: many requests of which one in twenty is malformed, too large or left by
//! its client, and SIGTERM in the middle, after which a new server takes over.
//!
//! Every drawing is compared with that of the same seed from a quiet server, and every text with
//! the text from one. A request that no server took, or that came while one was ending, is sent
//! again; one that was taken must be answered whole.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::client::{self, Lost, Reply, Request};
use super::process::{Launch, Server};
use super::{drawing, reading};

/// The seeds of the drawings, each of which was drawn on a quiet server.
const SEEDS: usize = 4;

/// The clients that send requests at once.
const CLIENTS: usize = 16;

/// One request in so many is bad.
const BAD_IN: usize = 20;

/// How often memory is read.
const SAMPLES: usize = 20;

/// How long a client sends a request again that no server takes.
const AGAIN: Duration = Duration::from_secs(180);

/// Good requests and their answers, and bad requests.
struct Plan {
    good: Vec<Good>,
    bad: Vec<Request>,
    /// A stream that its client leaves.
    left: Request,
}

/// A request whose answer is known.
struct Good {
    request: Request,
    wanted: String,
}

/// What was counted.
#[derive(Debug, Default)]
struct Counts {
    right: AtomicUsize,
    wrong: AtomicUsize,
    refused: AtomicUsize,
    left: AtomicUsize,
    again: AtomicUsize,
    /// Connections that an ending server closed without an answer: those that no program had taken
    /// from the system's queue.
    unread: AtomicUsize,
    lost: AtomicUsize,
    stuck: AtomicUsize,
}

/// Where requests go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Target {
    /// The address of the server that runs, if one does.
    address: Option<SocketAddr>,
    /// Whether it was told to end.
    ends: bool,
}

type Address = Mutex<Target>;

/// Sends so many requests and prints what became of them.
pub fn run(launch: &Launch, requests: usize) -> Result<ExitCode> {
    let first = Server::start(launch)?;
    let plan = plan(first.address())?;
    let address = Mutex::new(Target { address: Some(first.address()), ends: false });
    let counts = Counts::default();
    let (sent, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let client = || loop {
        let at = sent.fetch_add(1, Ordering::Relaxed);
        if at >= requests {
            return;
        }
        plan.send(at, &address, &counts);
        done.fetch_add(1, Ordering::Relaxed);
    };
    let ends = std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(client);
        }
        watch(launch, first, &address, Progress { done: &done, requests })
    });
    if ends.is_err() {
        sent.store(requests, Ordering::Relaxed);
    }
    let [middle, last] = ends?;
    let panics = launch.panics()?;
    let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    println!(
        "\n| requests | right | bad and refused | left by the client | sent again \
         | of these unread | wrong | lost | stuck | panics | exit codes |"
    );
    println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |");
    println!(
        "| {requests} | {} | {} | {} | {} | {} | {} | {} | {} | {panics} | {middle:?}, {last:?} |",
        count(&counts.right),
        count(&counts.refused),
        count(&counts.left),
        count(&counts.again),
        count(&counts.unread),
        count(&counts.wrong),
        count(&counts.lost),
        count(&counts.stuck)
    );
    let bad = panics + count(&counts.wrong) + count(&counts.lost) + count(&counts.stuck);
    let well = bad == 0 && [middle, last] == [Some(0); 2];
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How far the clients are.
struct Progress<'a> {
    done: &'a AtomicUsize,
    requests: usize,
}

/// Prints the memory of the server over time, ends it in the middle and starts another; returns the
/// exit codes of the two.
fn watch(
    launch: &Launch,
    first: Server,
    address: &Address,
    progress: Progress<'_>,
) -> Result<[Option<i32>; 2]> {
    let Progress { done, requests } = progress;
    println!("| seconds | requests done | memory, MiB |\n| ---: | ---: | ---: |");
    let (begun, mut server, mut middle, mut printed) = (Instant::now(), first, None, 0);
    loop {
        let now = done.load(Ordering::Relaxed);
        if now * SAMPLES >= printed * requests {
            printed = now * SAMPLES / requests + 1;
            let seconds = begun.elapsed().as_secs_f64();
            println!("| {seconds:.0} | {now} | {:.0} |", server.memory_mib());
        }
        if middle.is_none() && 2 * now >= requests {
            lock(address).ends = true;
            server.terminate()?;
            // Clients run into the ending server for a moment, as they do in life.
            std::thread::sleep(Duration::from_millis(50));
            lock(address).address = None;
            middle = Some(server.wait()?);
            server = Server::start(launch)?;
            *lock(address) = Target { address: Some(server.address()), ends: false };
        }
        if now >= requests {
            return Ok([middle.flatten(), server.end()?]);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn lock(address: &Address) -> std::sync::MutexGuard<'_, Target> {
    address.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Asks a quiet server for the right answers.
fn plan(address: SocketAddr) -> Result<Plan> {
    let mut good = vec![];
    for seed in 0..SEEDS as u64 {
        good.push(known(address, drawing(seed))?);
    }
    let drawn = client::post(address, &drawing(0))?;
    good.push(known(address, reading(&drawn)?)?);
    let huge = header_of_100_megapixels();
    let large = |bytes: Vec<u8>| {
        let mut body =
            b"--b\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a.png\"\r\n\r\n"
                .to_vec();
        body.extend(bytes);
        body.extend(
            b"\r\n--b\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\na\r\n--b--\r\n",
        );
        body
    };
    let form = |body| Request::raw("/v1/images/edits", "multipart/form-data; boundary=b", body);
    let (images, chat) = ("/v1/images/generations", "/v1/chat/completions");
    let bad = vec![
        Request::raw(images, "application/json", b"{\"prompt\": \"red".to_vec()),
        Request::raw(chat, "application/json", b"{\"messages\": [{\"role\"".to_vec()),
        Request::json(images, &json!({ "prompt": "red K", "size": "1x1000000" })),
        Request::json(chat, &json!({ "messages": "none" })),
        form(large(huge)),
        form(large(vec![7; 40 << 20])),
        form(b"--b\r\nContent-Disposition: form-data; name=\"image\"\r\n\r\n\x89PNG".to_vec()),
    ];
    let body = json!({ "prompt": "red K on yellow", "stream": true, "partial_images": 3 });
    Ok(Plan { good, bad, left: Request::json(images, &body) })
}

/// Asks for one answer twice; it must be the same.
fn known(address: SocketAddr, request: Request) -> Result<Good> {
    let ask = || -> Result<String> {
        let reply = client::post(address, &request)?;
        content(&reply).with_context(|| format!("the server said {}: {}", reply.status, reply.body))
    };
    let wanted = ask()?;
    ensure!(ask()? == wanted, "the same request was answered in two ways");
    Ok(Good { request, wanted })
}

/// Returns the image or the text of a good answer.
fn content(reply: &Reply) -> Option<String> {
    if reply.status != 200 {
        return None;
    }
    if let Ok(whole) = serde_json::from_str::<Value>(&reply.body) {
        return whole["data"][0]["b64_json"].as_str().map(str::to_owned);
    }
    let mut text = String::new();
    let mut finished = false;
    for event in reply.events() {
        let choice = &event["choices"][0];
        text.push_str(choice["delta"]["content"].as_str().unwrap_or_default());
        finished |= choice["finish_reason"].is_string();
    }
    finished.then_some(text)
}

impl Plan {
    /// Sends request `at` and counts what became of it.
    fn send(&self, at: usize, address: &Address, counts: &Counts) {
        let (kind, turn) = (at % BAD_IN, at / BAD_IN);
        // One of each round of bad requests is a stream that is left.
        let bad = (kind == BAD_IN / 2).then(|| turn % (self.bad.len() + 1));
        if bad == Some(self.bad.len()) {
            let outcome = again(address, counts, |address| {
                client::vanish(address, &self.left).map(|()| None)
            });
            return count_of(match outcome {
                Ok(_) => &counts.left,
                Err(Lost::Stuck) => &counts.stuck,
                Err(_) => &counts.lost,
            });
        }
        let good = &self.good[at % self.good.len()];
        let request = bad.map_or(&good.request, |bad| &self.bad[bad]);
        let outcome = again(address, counts, |address| client::post(address, request).map(Some));
        count_of(match outcome {
            Ok(Some(reply)) if bad.is_some() => {
                if (400..500).contains(&reply.status) {
                    &counts.refused
                } else {
                    &counts.wrong
                }
            }
            Ok(Some(reply)) if content(&reply).as_ref() == Some(&good.wanted) => &counts.right,
            Ok(_) => &counts.wrong,
            // A server that reads no more of a body that is too large may end the connection.
            Err(Lost::Unanswered | Lost::Cut) if bad.is_some() => &counts.refused,
            Err(Lost::Stuck) => &counts.stuck,
            Err(_) => &counts.lost,
        });
    }
}

fn count_of(counter: &AtomicUsize) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Sends until a server takes the request: one that is full or ending says so, and is asked again.
fn again(
    address: &Address,
    counts: &Counts,
    send: impl Fn(SocketAddr) -> Result<Option<Reply>, Lost>,
) -> Result<Option<Reply>, Lost> {
    let start = Instant::now();
    loop {
        let to = *lock(address);
        let outcome = to.address.map_or(Err(Lost::Refused), &send);
        let now = *lock(address);
        let taken = match &outcome {
            Ok(Some(reply)) => ![429, 503].contains(&reply.status),
            Err(Lost::Refused) => false,
            Err(Lost::Unanswered) if now.ends || now != to => {
                counts.unread.fetch_add(1, Ordering::Relaxed);
                false
            }
            Ok(None) | Err(_) => true,
        };
        if taken || start.elapsed() > AGAIN {
            return outcome;
        }
        counts.again.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Returns the beginning of a PNG file that claims 10,000 x 10,000 pixels.
fn header_of_100_megapixels() -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    file.extend([10_000_u32.to_be_bytes(), 10_000_u32.to_be_bytes()].concat());
    file.extend([8, 2, 0, 0, 0, 0, 0, 0, 0]);
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_counts_only_when_its_stream_has_ended() {
        let reply = |body: &str| Reply {
            status: 200,
            body: body.to_owned(),
            first: None,
            total: Duration::ZERO,
        };
        let part =
            "data: {\"choices\":[{\"delta\":{\"content\":\"red\"},\"finish_reason\":null}]}\n\n";
        let end = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
        assert_eq!(content(&reply(part)), None);
        assert_eq!(content(&reply(&format!("{part}{end}"))).as_deref(), Some("red"));
        let drawn = "{\"data\": [{\"b64_json\": \"abc\"}]}";
        assert_eq!(content(&reply(drawn)).as_deref(), Some("abc"));
        assert_eq!(content(&Reply { status: 500, ..reply(drawn) }), None);
    }
}
