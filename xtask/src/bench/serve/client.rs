//! A client of HTTP/1.1 that keeps times, over one connection for each request.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The longest that a client waits for bytes. A request without any for so long is stuck.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A request as it is sent.
#[derive(Debug, Clone)]
pub struct Request {
    path: &'static str,
    content_type: String,
    body: Vec<u8>,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub body: String,
    /// When the first piece of text came, in a stream that has one.
    pub first: Option<Duration>,
    /// When the last byte came.
    pub total: Duration,
}

/// Why there is no whole answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// No server took the connection.
    Refused,
    /// The connection ended before any byte of an answer.
    Unanswered,
    /// The answer ended in the middle.
    Cut,
    /// No byte came for [`PATIENCE`].
    Stuck,
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Refused => "no server took the connection",
            Self::Unanswered => "the connection ended without an answer",
            Self::Cut => "the answer ended in the middle",
            Self::Stuck => "no answer came",
        })
    }
}

impl std::error::Error for Lost {}

impl Request {
    /// Makes a request with a JSON body.
    pub fn json(path: &'static str, body: &Value) -> Self {
        Self::raw(path, "application/json", body.to_string().into_bytes())
    }

    /// Makes a request with any body.
    pub fn raw(path: &'static str, content_type: &str, body: Vec<u8>) -> Self {
        Self { path, content_type: content_type.to_owned(), body }
    }

    /// Opens a connection and sends the request. A server may answer and close before all is sent,
    /// so that an error of writing is none yet.
    fn send(&self, address: SocketAddr) -> Result<TcpStream, Lost> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(|_| Lost::Refused)?;
        let timed = stream.set_read_timeout(Some(PATIENCE)).and_then(|()| stream.set_nodelay(true));
        timed.map_err(|_| Lost::Refused)?;
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: {address}\r\nContent-Type: {}\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n",
            self.path,
            self.content_type,
            self.body.len()
        );
        let mut writer = &stream;
        let _ = writer.write_all(head.as_bytes()).and_then(|()| writer.write_all(&self.body));
        Ok(stream)
    }
}

impl Reply {
    /// Returns the JSON objects of a stream of events.
    pub fn events(&self) -> impl Iterator<Item = Value> {
        let data = self.body.lines().filter_map(|line| line.strip_prefix("data:"));
        data.filter_map(|data| serde_json::from_str(data.trim()).ok())
    }
}

/// Sends a request and waits for the whole answer.
pub fn post(address: SocketAddr, request: &Request) -> Result<Reply, Lost> {
    let start = Instant::now();
    let mut stream = request.send(address)?;
    let mut bytes = vec![];
    let mut first = None;
    loop {
        if let Some(answer) = parsed(&bytes) {
            let total = start.elapsed();
            return Ok(Reply { status: answer.status, body: answer.body, first, total });
        }
        let mut some = [0; 16 << 10];
        let ended = if bytes.is_empty() { Lost::Unanswered } else { Lost::Cut };
        match stream.read(&mut some) {
            Ok(0) => return Err(ended),
            Ok(count) => bytes.extend_from_slice(&some[..count]),
            Err(why) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&why.kind()) => {
                return Err(Lost::Stuck);
            }
            Err(why) if why.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Err(ended),
        }
        if first.is_none() && has_text(&bytes) {
            first = Some(start.elapsed());
        }
    }
}

/// Sends a request and goes away after the first bytes of the answer.
pub fn vanish(address: SocketAddr, request: &Request) -> Result<(), Lost> {
    let mut stream = request.send(address)?;
    match stream.read(&mut [0; 64]) {
        Ok(0) | Err(_) => Err(Lost::Unanswered),
        Ok(_) => Ok(()),
    }
}

/// Says whether a piece of text has come in a stream of events.
fn has_text(bytes: &[u8]) -> bool {
    const FIELD: &[u8] = b"\"content\":\"";
    let mut places = bytes.windows(FIELD.len() + 1);
    places.any(|window| window.starts_with(FIELD) && window[FIELD.len()] != b'"')
}

/// What stands in an answer.
struct Answer {
    status: u16,
    body: String,
}

/// Takes an answer apart; none while it is not whole.
fn parsed(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let header = |name: &str| {
        let mut lines = head.lines().skip(1);
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
    };
    let rest = &bytes[end + 4..];
    let body = if header("transfer-encoding") == Some("chunked") {
        unchunked(rest)?
    } else {
        let length: usize = header("content-length")?.parse().ok()?;
        rest.get(..length)?.to_vec()
    };
    Some(Answer { status, body: String::from_utf8_lossy(&body).into_owned() })
}

/// Puts the chunks of a body together; none until the last has come.
fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = vec![];
    loop {
        let line = rest.windows(2).position(|window| window == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..line]).ok()?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        let start = line + 2;
        body.extend_from_slice(rest.get(start..start.checked_add(size)?)?);
        rest = rest.get(start + size + 2..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_at_its_last_byte_and_not_before() {
        for whole in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwords",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nwor\r\n2\r\nds\r\n0\r\n",
        ] {
            let answer = parsed(whole.as_bytes()).unwrap();
            assert_eq!((answer.status, answer.body.as_str()), (200, "words"));
            for end in 0..whole.len() {
                assert!(parsed(&whole.as_bytes()[..end]).is_none(), "{end} of {whole}");
            }
        }
    }

    #[test]
    fn the_first_text_is_the_first_that_is_not_empty() {
        assert!(!has_text(b"{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}"));
        assert!(!has_text(b"{\"delta\":{\"content\":\""));
        assert!(has_text(b"{\"delta\":{\"content\":\"r\"}}"));
    }
}
