//! Waiting for a job: its events to its end.

use mm_patch::Image;

use crate::error::ApiError;
use crate::{Event, FinishReason, Ticket, Usage};

/// What a job has made, in order.
#[derive(Debug, Clone)]
pub(crate) enum Piece {
    Text(String),
    Image(Image),
}

/// A job that has ended well.
#[derive(Debug)]
pub(crate) struct Made {
    pub pieces: Vec<Piece>,
    pub reason: FinishReason,
    pub usage: Usage,
}

/// Waits for the end of a job. Dropping the future ends the job.
pub(crate) async fn collect(mut ticket: Ticket) -> Result<Made, ApiError> {
    let mut pieces = vec![];
    while let Some(event) = ticket.events.recv().await {
        match event {
            Event::Text(text) => push_text(&mut pieces, &text),
            Event::Image { pixels, .. } => pieces.push(Piece::Image(pixels)),
            Event::Finished { reason, usage } => return Ok(Made { pieces, reason, usage }),
            Event::Failed(why) => return Err(ApiError::server(why)),
            Event::Started | Event::Step { .. } | Event::Preview { .. } => {}
        }
    }
    Err(engine_ended())
}

/// Adds text to the last piece where that is text.
pub(crate) fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    match pieces.last_mut() {
        Some(Piece::Text(last)) => last.push_str(text),
        _ => pieces.push(Piece::Text(text.to_owned())),
    }
}

/// Says that nothing more will come of a job.
pub(crate) fn engine_ended() -> ApiError {
    ApiError::server("the engine ended before the request was done")
}
