//! Messages to turns: the texts and images of a conversation, in the order in which they stand.

use mm_model::{LoadedModel, Segment, TURN_END, Turn};
use mm_patch::{Grid, Image};

use crate::error::WebError;
use crate::request::{Message, Part, Role};
use crate::shown::{decoded, fitted};

/// Lays messages out as turns. What the system says stands before the first turn, and what one side
/// says in several messages is one turn's.
pub(crate) fn turns(
    model: &LoadedModel,
    messages: &[Message],
    images: &[Vec<u8>],
) -> Result<Vec<Turn>, WebError> {
    let (mut system, mut turns) = (vec![], Vec::<Turn>::new());
    for Message { role, content } in messages {
        let parts = content.iter().map(|part| segment(model, *role, part, images));
        let segments = parts.collect::<Result<Vec<_>, _>>()?;
        match role {
            Role::System => {
                system.extend(segments);
                system.push(Segment::context_text(TURN_END));
            }
            Role::User => match turns.last_mut().filter(|turn| turn.answer.is_empty()) {
                Some(turn) => {
                    turn.asked.push(Segment::context_text(TURN_END));
                    turn.asked.extend(segments);
                }
                None => turns.push(Turn { asked: segments, answer: vec![] }),
            },
            Role::Assistant => match turns.last_mut() {
                Some(turn) => turn.answer.extend(segments),
                None => turns.push(Turn { asked: vec![], answer: segments }),
            },
        }
    }
    match turns.first_mut() {
        Some(first) => {
            first.asked.splice(0..0, system);
        }
        None => turns.push(Turn { asked: system, answer: vec![] }),
    }
    Ok(turns)
}

fn segment(
    model: &LoadedModel,
    role: Role,
    part: &Part,
    images: &[Vec<u8>],
) -> Result<Segment, WebError> {
    match part {
        Part::Text { text } => Ok(Segment::context_text(text.as_str())),
        Part::Image { image } => {
            let file = images.get(*image).ok_or_else(|| WebError::Field {
                field: "messages",
                found: format!("image {image}"),
                wanted: format!("an image below {}, the number that was given", images.len()),
            })?;
            shown(model, role, &decoded(file, "messages")?).map(Segment::context_image)
        }
    }
}

/// Returns an image as the model sees it: its own drawings as they are, others fitted.
fn shown(model: &LoadedModel, role: Role, image: &Image) -> Result<Image, WebError> {
    let own = Grid::of_size(image.width(), image.height(), model.config.patch);
    if role == Role::Assistant && own.is_ok() {
        return Ok(image.clone());
    }
    fitted(model, image, "messages")
}
