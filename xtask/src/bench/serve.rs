//! `cargo xtask bench serve` measures the server: equal requests from ever more clients at once, of
//! drawings and of text, against the same requests one at a time.
//!
//! With `--abuse N` it measures instead what the server bears: N requests of which one in twenty is
//! malformed, too large or left by its client, with SIGTERM in the middle.

mod abuse;
mod client;
mod process;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use xshell::Shell;

use self::client::{Reply, Request};
use self::process::{Launch, Server};
use super::option;
use crate::mm;

/// What the command line asks for.
struct Wanted {
    model: PathBuf,
    requests: usize,
    clients: Vec<usize>,
    abuse: Option<usize>,
}

/// Builds the release program, starts it as a server and measures it.
pub fn run(sh: &Shell, args: &[OsString]) -> Result<ExitCode> {
    let wanted = parse(sh, args)?;
    let device = mm::device_of(args);
    let program = mm::build(sh, device.as_deref())?;
    let log = mm::target(sh)?.join("bench-serve.log");
    let launch = Launch { program, model: wanted.model, device, log };
    launch.clear_log()?;
    println!("On {}; the log of the server is {}.\n", process::machine(), launch.log.display());
    if let Some(requests) = wanted.abuse {
        return abuse::run(&launch, requests);
    }
    let server = Server::start(&launch)?;
    let drawing = drawing(1);
    let drawn = client::post(server.address(), &drawing)?;
    let reading = reading(&drawn)?;
    for (title, unit, request) in
        [("drawings", "images/s", drawing), ("texts", "tokens/s", reading)]
    {
        println!(
            "| {title}: clients | {unit} | against one | first token, ms | p50, ms | p99, ms \
             | p99 / p50 | memory before, after, MiB |"
        );
        println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
        let mut single = None;
        for &clients in &wanted.clients {
            let before = server.memory_mib();
            let round = measure(server.address(), &request, wanted.requests.max(clients), clients)?;
            let after = server.memory_mib();
            let single = *single.get_or_insert(round.per_second());
            println!("{}", round.line(clients, single, [before, after]));
        }
        println!();
    }
    let code = server.end()?;
    ensure!(code == Some(0), "the server ended with {code:?}, wanted 0");
    Ok(ExitCode::SUCCESS)
}

fn parse(sh: &Shell, args: &[OsString]) -> Result<Wanted> {
    const FLAGS: [&str; 5] = ["--model", "--requests", "--clients", "--abuse", "--device"];
    for name in args.iter().step_by(2) {
        if !FLAGS.iter().any(|flag| name == flag) {
            bail!("no flag is called {name:?}, there are {}", FLAGS.join(", "));
        }
    }
    let number = |name: &str| {
        let text = option(args, name);
        let number = text.as_ref().map(|text| {
            let number = text.parse::<usize>().ok().filter(|&number| number > 0);
            number.with_context(|| format!("`{name} {text}` is not a number above 0"))
        });
        number.transpose()
    };
    let clients = option(args, "--clients").unwrap_or_else(|| "1,4,16,64".to_owned());
    let clients = clients.split(',').map(|text| {
        let number = text.trim().parse::<usize>().ok().filter(|&number| number > 0);
        number.with_context(|| format!("`--clients {clients}` are not numbers with commas"))
    });
    let folder = sh.current_dir();
    let model = option(args, "--model").map_or("runs/glyphs/model".into(), PathBuf::from);
    let model = folder.join(model);
    ensure!(
        model.join("config.json").exists(),
        "there is no model in {}; `cargo xtask train glyphs` makes one, and --model names another",
        model.display()
    );
    Ok(Wanted {
        model,
        requests: number("--requests")?.unwrap_or(64),
        clients: clients.collect::<Result<_>>()?,
        abuse: number("--abuse")?,
    })
}

/// Makes the request of one image.
fn drawing(seed: u64) -> Request {
    let body = json!({ "prompt": "red K on yellow", "seed": seed });
    Request::json("/v1/images/generations", &body)
}

/// Makes the request of a text about an image that was drawn, as a stream.
fn reading(drawn: &Reply) -> Result<Request> {
    let drawn: Value = serde_json::from_str(&drawn.body)?;
    let image = drawn["data"][0]["b64_json"].as_str();
    let image = image.with_context(|| format!("the server did not draw, but said {drawn}"))?;
    let url = format!("data:image/png;base64,{image}");
    let content = json!([
        { "type": "image_url", "image_url": { "url": url } },
        { "type": "text", "text": "what is this?" },
    ]);
    let body = json!({
        "messages": [{ "role": "user", "content": content }],
        "temperature": 0,
        "max_tokens": 32,
        "modalities": ["text"],
        "stream": true,
        "stream_options": { "include_usage": true },
    });
    Ok(Request::json("/v1/chat/completions", &body))
}

/// What some clients found together.
struct Round {
    seconds: f64,
    /// What was made: images, or tokens of text.
    made: usize,
    /// The seconds of every request, in order of length.
    totals: Vec<f64>,
    /// The seconds until the first piece of text, in order of length.
    firsts: Vec<f64>,
    failed: usize,
}

/// Sends equal requests from so many clients at once, each of which waits for its answers.
fn measure(
    address: SocketAddr,
    request: &Request,
    requests: usize,
    clients: usize,
) -> Result<Round> {
    let sent = AtomicUsize::new(0);
    let client = || {
        let mut replies = vec![];
        while sent.fetch_add(1, Ordering::Relaxed) < requests {
            replies.push(client::post(address, request));
        }
        replies
    };
    let start = Instant::now();
    let replies: Vec<_> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..clients).map(|_| scope.spawn(client)).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap_or_default()).collect()
    });
    let seconds = start.elapsed().as_secs_f64();
    let mut round = Round { seconds, made: 0, totals: vec![], firsts: vec![], failed: 0 };
    for reply in replies {
        match reply {
            Ok(reply) if reply.status == 200 => {
                round.made += made(&reply)?;
                round.totals.push(reply.total.as_secs_f64());
                round.firsts.extend(reply.first.as_ref().map(Duration::as_secs_f64));
            }
            _ => round.failed += 1,
        }
    }
    round.totals.sort_by(f64::total_cmp);
    round.firsts.sort_by(f64::total_cmp);
    Ok(round)
}

/// Counts the images, or the tokens of text, of an answer.
fn made(reply: &Reply) -> Result<usize> {
    if let Ok(whole) = serde_json::from_str::<Value>(&reply.body) {
        return Ok(whole["data"].as_array().map_or(0, Vec::len));
    }
    let tokens = reply.events().filter_map(|event| event["usage"]["completion_tokens"].as_u64());
    tokens.last().map(|tokens| tokens as usize).context("the stream has no usage")
}

impl Round {
    fn per_second(&self) -> f64 {
        self.made as f64 / self.seconds
    }

    /// Makes one line of the table.
    fn line(&self, clients: usize, single: f64, memory: [f64; 2]) -> String {
        let ms = |seconds: f64| format!("{:.0}", 1000.0 * seconds);
        let first = quantile(&self.firsts, 0.5).map_or("-".into(), ms);
        let [p50, p99] = [0.5, 0.99].map(|share| quantile(&self.totals, share).unwrap_or(f64::NAN));
        let [before, after] = memory;
        let rate = self.per_second();
        let failed = match self.failed {
            0 => String::new(),
            failed => format!(" {failed} requests failed"),
        };
        format!(
            "| {clients} | {rate:.2} | {:.2} | {first} | {} | {} | {:.2} \
             | {before:.0}, {after:.0} |{failed}",
            rate / single,
            ms(p50),
            ms(p99),
            p99 / p50
        )
    }
}

/// Returns the number below which a share of sorted numbers lies; none of no numbers.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    Some(sorted[(last as f64 * share).round() as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_compares_with_one_client_and_names_what_failed() {
        let totals: Vec<f64> = (1..=100).map(|at| f64::from(at) / 100.0).collect();
        let mut round = Round { seconds: 4.0, made: 100, totals, firsts: vec![], failed: 0 };
        let line = round.line(16, 5.0, [100.0, 101.2]);
        assert_eq!(line, "| 16 | 25.00 | 5.00 | - | 510 | 990 | 1.94 | 100, 101 |");
        (round.failed, round.firsts) = (2, vec![0.25]);
        let line = round.line(16, 5.0, [100.0, 101.2]);
        assert!(line.contains("| 250 |") && line.ends_with("| 2 requests failed"), "{line}");
    }

    #[test]
    fn images_are_counted_in_objects_and_tokens_in_streams() {
        let reply = |body: &str| Reply {
            status: 200,
            body: body.to_owned(),
            first: None,
            total: Duration::ZERO,
        };
        assert_eq!(made(&reply("{\"data\": [{}, {}]}")).unwrap(), 2);
        let stream = "data: {\"usage\":null}\n\ndata: {\"usage\":{\"completion_tokens\":7}}\n\n\
                      data: [DONE]\n\n";
        assert_eq!(made(&reply(stream)).unwrap(), 7);
        assert!(made(&reply("data: [DONE]\n\n")).is_err());
    }

    #[test]
    fn a_flag_that_is_unknown_or_no_number_is_refused_by_name() {
        let sh = Shell::new().unwrap();
        let why = |line: &str| {
            let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            parse(&sh, &args).err().map(|why| why.to_string()).unwrap_or_default()
        };
        assert!(why("--client 4").contains("--client"));
        assert!(why("--clients 4,x --model .").contains("xtask train"));
        assert!(why("--model nowhere").contains("nowhere"));
    }
}
