//! `mm serve`: models over HTTP, in the form of the OpenAI API.

mod log;
mod models;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, ValueEnum};
use mm_serve::{Engine, EngineOptions, Limits, ServeOptions, ServedModel};
use tokio::net::TcpListener;

use super::export::web::read_site;
use crate::device::DeviceArg;
use crate::files::within;
use crate::terminal::{Failure, failed, say, tell, usage};

#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  mm serve runs/dialogue/model
  mm serve digits=runs/glyphs/model runs/dialogue/model --port 8000
  mm serve runs/dialogue/model --host 0.0.0.0 --api-key-file keys.txt

The reference of all endpoints is docs/serving.md.")]
pub struct ServeArgs {
    /// Model folders, as DIR or NAME=DIR. The name is that of the folder, or of the one around a
    /// folder that is called model.
    #[arg(required = true, value_name = "MODEL")]
    models: Vec<String>,
    /// Address to listen on.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    host: Host,
    /// Port to listen on; 0 takes one that is free.
    #[arg(long, value_name = "N", default_value_t = 8080)]
    port: u16,
    /// File of API keys, one a line, of which a request must show one.
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// Listen on an address that is not loopback without any key.
    #[arg(long)]
    insecure: bool,
    /// Origin whose web pages may use the server, such as `https://example.org`; can be repeated.
    #[arg(long, value_name = "URL")]
    cors_origin: Vec<Origin>,
    /// Most requests that wait for their turn; further ones are answered with 429.
    #[arg(long, value_name = "N", default_value_t = 256)]
    queue: usize,
    /// Most rows of a pass through a network; a guided image takes two.
    #[arg(long, value_name = "N", default_value_t = 32)]
    max_rows: usize,
    /// Passes that run at once, each on its share of the cores [default: one a core for small
    /// models on the CPU, else 1].
    #[arg(long, value_name = "N")]
    passes: Option<usize>,
    /// Folder that `mm export web` wrote; it is served at /local, where the model runs in the
    /// browser.
    #[arg(long, value_name = "SITE")]
    site: Option<PathBuf>,
    /// Write prompts to the log.
    #[arg(long)]
    log_prompts: bool,
    /// Form of the log, which goes to standard error.
    #[arg(long, value_name = "FORM", default_value = "text")]
    log_format: LogFormat,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    device: DeviceArg,
}

/// Flags that bound what one request may ask for.
#[derive(Debug, Args)]
struct LimitArgs {
    /// Most bytes of the body of a request.
    #[arg(long, value_name = "N", default_value_t = Limits::default().body_bytes)]
    limit_body_bytes: usize,
    /// Most pixels of an image that is sent.
    #[arg(long, value_name = "N", default_value_t = Limits::default().image_pixels)]
    limit_image_pixels: u64,
    /// Most images that are sent with a request.
    #[arg(long, value_name = "N", default_value_t = Limits::default().images)]
    limit_images: usize,
    /// Most images that a request draws, and most answers that it asks for.
    #[arg(long, value_name = "N", default_value_t = Limits::default().drawn)]
    limit_drawn: usize,
    /// Most patches of an image that is drawn.
    #[arg(long, value_name = "N", default_value_t = Limits::default().patches)]
    limit_patches: usize,
    /// Most tokens of a prompt, patches counted.
    #[arg(long, value_name = "N", default_value_t = Limits::default().prompt_tokens)]
    limit_prompt_tokens: usize,
    /// Most tokens of text that a request makes.
    #[arg(long, value_name = "N", default_value_t = Limits::default().tokens)]
    limit_tokens: usize,
    /// Most denoising steps of an image.
    #[arg(long, value_name = "N", default_value_t = Limits::default().steps)]
    limit_steps: usize,
    /// Most seconds that a request takes, waiting included.
    #[arg(long, value_name = "N", default_value_t = Limits::default().request_time.as_secs())]
    limit_seconds: u64,
}

/// Form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// An address to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Host(IpAddr);

impl FromStr for Host {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "localhost" {
            return Ok(Self(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        }
        let address = text.trim_start_matches('[').trim_end_matches(']').parse();
        address.map(Self).map_err(|_| "wanted an IP address such as 127.0.0.1 or ::1".to_owned())
    }
}

/// The origin of web pages: scheme, host and port, as browsers send it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Origin(String);

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "wanted SCHEME://HOST or SCHEME://HOST:PORT, without a path".to_owned();
        let text = text.strip_suffix('/').unwrap_or(text);
        let (scheme, host) = text.split_once("://").ok_or_else(wrong)?;
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        let fine = !scheme.is_empty() && !host.is_empty() && plain(text);
        if fine && !host.contains(['/', '?', '#', '@', '*']) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(wrong())
        }
    }
}

pub fn run(args: &ServeArgs) -> Result<(), Failure> {
    within("--queue", args.queue, 1_000_000)?;
    within("--max-rows", args.max_rows, 4096)?;
    if let Some(passes) = args.passes {
        within("--passes", passes, 4096)?;
    }
    let options = options(args)?;
    let models = models::named(&args.models)?;
    let address = SocketAddr::new(args.host.0, args.port);
    if !address.ip().is_loopback() && options.api_keys.is_empty() && !args.insecure {
        return Err(usage!("`--host {}` lets other machines use the models", address.ip())
            .hint("--api-key-file FILE lets in who has a key; --insecure lets in everyone"));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2) // they parse and send; the engine has a thread of its own
        .enable_all()
        .build()?;
    let listener = runtime
        .block_on(TcpListener::bind(address))
        .map_err(|why| Failure::because(format!("cannot listen on {address}"), why))
        .map_err(|why| why.hint("--port takes another port; --port 0 takes one that is free"))?;
    log::start(args.log_format);
    let device = args.device.open()?;
    let models = models.iter().map(|model| model.load(&device)).collect::<Result<Vec<_>, _>>()?;
    announce(&listener, &models, &options)?;
    let engine = Engine::start(
        models,
        EngineOptions {
            queue: args.queue,
            max_rows: args.max_rows,
            lanes: args.passes,
            time_limit: options.limits.request_time,
        },
    );
    let served = runtime.block_on(async {
        let shutdown = signals()?;
        mm_serve::serve(listener, engine, options, shutdown).await
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(served?)
}

/// Reads the settings of the server from the flags.
fn options(args: &ServeArgs) -> Result<ServeOptions, Failure> {
    let LimitArgs {
        limit_body_bytes,
        limit_image_pixels,
        limit_images,
        limit_drawn,
        limit_patches,
        limit_prompt_tokens,
        limit_tokens,
        limit_steps,
        limit_seconds,
    } = args.limits;
    for (flag, found) in [
        ("--limit-body-bytes", limit_body_bytes),
        ("--limit-drawn", limit_drawn),
        ("--limit-patches", limit_patches),
        ("--limit-prompt-tokens", limit_prompt_tokens),
        ("--limit-tokens", limit_tokens),
        ("--limit-steps", limit_steps),
    ] {
        within(flag, found, usize::MAX)?;
    }
    if !(1..=1_000_000).contains(&limit_seconds) {
        return Err(usage!("`--limit-seconds {limit_seconds}`, wanted 1 to 1000000"));
    }
    Ok(ServeOptions {
        limits: Limits {
            body_bytes: limit_body_bytes,
            image_pixels: limit_image_pixels,
            images: limit_images,
            drawn: limit_drawn,
            patches: limit_patches,
            prompt_tokens: limit_prompt_tokens,
            tokens: limit_tokens,
            steps: limit_steps,
            request_time: Duration::from_secs(limit_seconds),
        },
        api_keys: args.api_key_file.as_deref().map(keys).transpose()?.unwrap_or_default(),
        cors_origins: args.cors_origin.iter().map(|origin| origin.0.clone()).collect(),
        log_prompts: args.log_prompts,
        any_host: false,
        site: args.site.as_deref().map(read_site).transpose()?.unwrap_or_default(),
    })
}

/// Reads a file of keys, one a line; empty lines and those that begin with `#` are skipped.
fn keys(path: &Path) -> Result<Vec<String>, Failure> {
    let text = fs_err::read_to_string(path)?;
    let lines =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let keys: Vec<String> = lines.map(str::to_owned).collect();
    if keys.is_empty() {
        return Err(failed!("`{}` holds no key, wanted one a line", path.display()));
    }
    let fine = |key: &String| {
        (8..=256).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic())
    };
    if let Some(at) = keys.iter().position(|key| !fine(key)) {
        let path = path.display();
        return Err(failed!(
            "key {} of `{path}` has no right form, wanted 8 to 256 letters, digits and signs",
            at + 1
        ));
    }
    Ok(keys)
}

/// Prints where the server listens, and what to do next.
fn announce(
    listener: &TcpListener,
    models: &[ServedModel],
    options: &ServeOptions,
) -> Result<(), Failure> {
    let address = listener.local_addr()?;
    let names: Vec<&str> = models.iter().map(|model| model.name.as_str()).collect();
    say!("listening on http://{address} (models: {})", names.join(", "));
    let key = match options.api_keys.len() {
        0 => "",
        _ => " -H 'authorization: Bearer KEY'",
    };
    let writes = models.first().is_some_and(|first| first.model.config.has_text());
    let (path, body) = if writes {
        let body = r#"{"messages": [{"role": "user", "content": "draw red K on white"}]}"#;
        ("chat/completions", body)
    } else {
        ("images/generations", r#"{"n": 1}"#)
    };
    tell!(
        "try it:\n  curl http://{address}/v1/{path}{key} -H 'content-type: application/json' \
         -d '{body}'"
    );
    if !options.site.is_empty() {
        tell!("the model in the browser itself: http://{address}/local");
    }
    Ok(())
}

/// Returns what is ready when the program shall end. A second signal ends it at once.
fn signals() -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
    #[cfg(unix)]
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    Ok(async move {
        #[cfg(unix)]
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        #[cfg(not(unix))]
        let _ = tokio::signal::ctrl_c().await;
        tokio::spawn(async {
            if tokio::signal::ctrl_c().await.is_ok() {
                std::process::exit(1);
            }
        });
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_has_no_path() {
        assert_eq!("https://A.example/".parse(), Ok(Origin("https://a.example".into())));
        assert_eq!("http://localhost:3000".parse(), Ok(Origin("http://localhost:3000".into())));
        for wrong in ["*", "a.example", "https://", "https://a/b", "https://*.a", "https://a b"] {
            assert!(wrong.parse::<Origin>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_address_is_an_ip_address_or_localhost() {
        for (text, wanted) in [("localhost", "127.0.0.1"), ("[::1]", "::1"), ("0.0.0.0", "0.0.0.0")]
        {
            assert_eq!(text.parse(), Ok(Host(wanted.parse().unwrap())));
        }
        assert!("example.org".parse::<Host>().is_err());
    }

    #[test]
    fn keys_stand_one_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys");
        fs_err::write(&file, "# of the team\n\n  first-key \nsecond-key\n").unwrap();
        assert_eq!(keys(&file).unwrap(), ["first-key", "second-key"]);
        for wrong in ["", "# none\n", "short\n", "has a space\n", &"k".repeat(257)] {
            fs_err::write(&file, wrong).unwrap();
            assert!(keys(&file).is_err(), "{wrong:?}");
        }
    }
}
