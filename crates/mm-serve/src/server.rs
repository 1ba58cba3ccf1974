//! The router, and the server that listens until it is told to end.

use std::future::Future;
use std::io;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::state::AppState;
use crate::{Engine, ServeOptions, api, guard, local, page};

/// How long answers that are already made may take to be read once the server ends.
const GOODBYE: Duration = Duration::from_secs(5);

/// How long a client may take to send the headers of a request, so that clients who send a byte now
/// and then hold no connections.
const HEADERS: Duration = Duration::from_secs(15);

/// How long no connection is accepted after accepting one has failed: files may have run out.
const BREATH: Duration = Duration::from_millis(100);

/// Makes the service of all endpoints, with everything that guards them.
///
/// The listening address is not known here: see [`ServeOptions::any_host`].
pub fn router(engine: Engine, options: ServeOptions) -> Router {
    router_of(AppState::new(engine, options))
}

fn router_of(state: AppState) -> Router {
    let routes = local::with_site(page::with_page(api::routes()), &state.options.site);
    guard::guarded(routes, &state).with_state(state)
}

/// Answers requests until `shutdown` is ready. From then on `/readyz` and new work are answered
/// with 503; what runs is finished, and then this returns.
pub async fn serve(
    listener: TcpListener,
    engine: Engine,
    mut options: ServeOptions,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    options.any_host |= !listener.local_addr()?.ip().is_loopback();
    let state = AppState::new(engine, options);
    let app = router_of(state.clone());
    let (drained, ready_to_close) = oneshot::channel::<()>();
    let closing = async move {
        let _ = ready_to_close.await; // without a sender there is no server either
    };
    let serving = connections(listener, app, HEADERS, closing);
    tokio::pin!(serving);
    tokio::select! {
        () = &mut serving => return Ok(()),
        () = shutdown => {}
    }
    tracing::info!("shutting down: no new work, what runs is finished");
    state.start_draining();
    tokio::select! {
        () = &mut serving => return Ok(()),
        () = state.engine.drain() => {}
    }
    drop(drained);
    // A client that does not read its answer cannot hold the server.
    if tokio::time::timeout(GOODBYE, serving).await.is_err() {
        tracing::warn!("connections that did not close were cut");
    }
    Ok(())
}

/// Accepts connections until `closing` is ready, then waits until the open ones have ended.
async fn connections(
    listener: TcpListener,
    app: Router,
    headers: Duration,
    closing: impl Future<Output = ()>,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(headers);
    let open = GracefulShutdown::new();
    tokio::pin!(closing);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut closing => break,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(BREATH).await;
            continue;
        };
        let _ = stream.set_nodelay(true); // events of a stream go out as they come
        let service = TowerToHyperService::new(app.clone());
        let connection = http.serve_connection(TokioIo::new(stream), service);
        let connection = open.watch(connection);
        // A client that breaks off is no event of the server.
        tokio::spawn(async move { drop(connection.await) });
    }
    drop(listener);
    open.shutdown().await;
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream};

    use super::*;

    /// Sends the start of a request and returns all that comes back.
    fn answer_to(request: &str, address: SocketAddr) -> Vec<u8> {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut all = vec![];
        stream.read_to_end(&mut all).expect("the server closes the connection");
        all
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_client_that_does_not_end_its_headers_is_cut_and_others_are_answered() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().route("/", axum::routing::get(async || "here"));
        let (close, closed) = oneshot::channel::<()>();
        let closing = async move { drop(closed.await) };
        let serving = connections(listener, app, Duration::from_millis(200), closing);
        let serving = tokio::spawn(serving);
        let asks = |request: &'static str| {
            tokio::task::spawn_blocking(move || answer_to(request, address))
        };
        let slow = asks("GET / HTTP/1.1\r\nhost: a\r\nx-");
        let quick = asks("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        let answer = String::from_utf8(quick.await.unwrap()).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("here"), "{answer}");
        let cut = String::from_utf8(slow.await.unwrap()).unwrap();
        assert!(!cut.starts_with("HTTP/1.1 200"), "{cut}");
        drop(close);
        serving.await.expect("no connection is left");
    }
}
