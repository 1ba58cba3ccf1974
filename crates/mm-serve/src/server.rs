//! The router, and the server that listens until it is told to end.

use std::future::{Future, IntoFuture};
use std::io;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::state::AppState;
use crate::{Engine, ServeOptions, api, guard, local, page};

/// How long answers that are already made may take to be read once the server ends.
const GOODBYE: Duration = Duration::from_secs(5);

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
    let serving = axum::serve(listener, app).with_graceful_shutdown(closing).into_future();
    tokio::pin!(serving);
    tokio::select! {
        ended = &mut serving => return ended,
        () = shutdown => {}
    }
    tracing::info!("shutting down: no new work, what runs is finished");
    state.start_draining();
    tokio::select! {
        ended = &mut serving => return ended,
        () = state.engine.drain() => {}
    }
    drop(drained);
    // A client that does not read its answer cannot hold the server.
    match tokio::time::timeout(GOODBYE, serving).await {
        Ok(ended) => ended,
        Err(_) => {
            tracing::warn!("connections that did not close were cut");
            Ok(())
        }
    }
}
