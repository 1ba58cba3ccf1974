//! A response in the making: what a job tells becomes output items, and the events of a stream.

use mm_model::Segment;
use serde_json::{Value, json};

use super::super::run::{Piece, push_text};
use super::super::usage::ResponseUsage;
use super::object::{
    IncompleteDetails, OutputImage, OutputItem, OutputMessage, OutputText, ResponseError,
    ResponseObject,
};
use super::tool::ImageFormat;
use crate::encode::size_of;
use crate::error::ApiError;
use crate::id::{new_id, now};
use crate::{Event, FinishReason, Usage};

/// An event of a stream.
#[derive(Debug, Clone)]
pub(super) struct StreamEvent {
    pub name: &'static str,
    pub data: Value,
}

/// A response in the making.
#[derive(Debug)]
pub(super) struct Assembly {
    pub response: ResponseObject,
    /// What was made, as the next request shows it to the model.
    pieces: Vec<Piece>,
    format: ImageFormat,
    open: Open,
    events: Vec<StreamEvent>,
    sequence: u64,
    is_over: bool,
}

/// The item of the output that is being made.
#[derive(Debug)]
enum Open {
    Nothing,
    Message { id: String, text: String },
    Image { id: String },
}

impl Assembly {
    /// Starts with a response that has no output yet.
    pub fn new(response: ResponseObject, format: ImageFormat) -> Self {
        let mut assembly = Self {
            response,
            pieces: vec![],
            format,
            open: Open::Nothing,
            events: vec![],
            sequence: 0,
            is_over: false,
        };
        assembly.send_response("response.created");
        assembly.send_response("response.in_progress");
        assembly
    }

    /// Returns the events that were not taken yet.
    pub fn take_events(&mut self) -> Vec<StreamEvent> {
        std::mem::take(&mut self.events)
    }

    /// Returns whether nothing more is made.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Returns what was made as segments of a document.
    pub fn segments(&self) -> Vec<Segment> {
        let segment = |piece: &Piece| match piece {
            Piece::Text(text) => Segment::context_text(text.as_str()),
            Piece::Image(image) => Segment::context_image(image.clone()),
        };
        self.pieces.iter().map(segment).collect()
    }

    /// Takes what a job tells.
    pub fn on(&mut self, event: Event) -> Result<(), ApiError> {
        match event {
            Event::Started => {}
            Event::Text(text) => self.on_text(&text),
            Event::Step { .. } => {
                self.image_id();
            }
            Event::Preview { index, pixels, .. } => {
                let item_id = self.image_id();
                let output_format = self.format.name;
                self.send(
                    "response.image_generation_call.partial_image",
                    json!({
                        "item_id": item_id,
                        "output_index": self.response.output.len(),
                        "partial_image_index": index,
                        "partial_image_b64": self.format.base64(&pixels)?,
                        "output_format": output_format,
                        "size": size_of(&pixels),
                        "background": "opaque",
                        "quality": "auto",
                    }),
                );
            }
            Event::Image { pixels, .. } => {
                let id = self.image_id();
                self.open = Open::Nothing;
                let item = OutputImage {
                    status: "completed",
                    result: Some(self.format.base64(&pixels)?),
                    size: Some(size_of(&pixels)),
                    ..self.new_image(id)
                };
                self.send_call("response.image_generation_call.completed", &item.id);
                self.finish_item(OutputItem::ImageGenerationCall(item));
                self.pieces.push(Piece::Image(pixels));
            }
            Event::Finished { reason, usage } => self.on_finish(reason, &usage),
            Event::Failed(why) => self.fail(why),
        }
        Ok(())
    }

    /// Ends the response with an error.
    pub fn fail(&mut self, message: String) {
        self.response.status = "failed";
        self.response.error = Some(ResponseError { code: "server_error", message });
        self.send_response("response.failed");
        self.is_over = true;
    }

    fn on_text(&mut self, text: &str) {
        let item_id = self.message_id();
        if let Open::Message { text: all, .. } = &mut self.open {
            all.push_str(text);
        }
        push_text(&mut self.pieces, text);
        self.send(
            "response.output_text.delta",
            json!({
                "item_id": item_id,
                "output_index": self.response.output.len(),
                "content_index": 0,
                "delta": text,
                "logprobs": [],
            }),
        );
    }

    fn on_finish(&mut self, reason: FinishReason, usage: &Usage) {
        if self.response.output.is_empty() {
            self.message_id(); // a client finds a message, if only an empty one
        }
        let is_whole = reason == FinishReason::Stop;
        self.close_message(if is_whole { "completed" } else { "incomplete" });
        self.response.completed_at = is_whole.then(now);
        self.response.usage = Some(ResponseUsage::of(usage));
        if is_whole {
            self.response.status = "completed";
            self.send_response("response.completed");
        } else {
            let reason = "max_output_tokens";
            self.response.status = "incomplete";
            self.response.incomplete_details = Some(IncompleteDetails { reason });
            self.send_response("response.incomplete");
        }
        self.is_over = true;
    }

    /// Returns the id of the message that is being written, which is opened if there is none.
    fn message_id(&mut self) -> String {
        if let Open::Message { id, .. } = &self.open {
            return id.clone();
        }
        let id = new_id("msg");
        self.open = Open::Message { id: id.clone(), text: String::new() };
        let item = OutputMessage {
            id: id.clone(),
            status: "in_progress",
            role: "assistant",
            content: vec![],
        };
        self.send_item("response.output_item.added", &OutputItem::Message(item));
        self.send_part("response.content_part.added", &id, OutputText::of(String::new()));
        id
    }

    /// Returns the id of the image that is being drawn, which is opened if there is none.
    fn image_id(&mut self) -> String {
        if let Open::Image { id } = &self.open {
            return id.clone();
        }
        self.close_message("completed");
        let id = new_id("ig");
        self.open = Open::Image { id: id.clone() };
        let item = OutputItem::ImageGenerationCall(self.new_image(id.clone()));
        self.send_item("response.output_item.added", &item);
        self.send_call("response.image_generation_call.in_progress", &id);
        self.send_call("response.image_generation_call.generating", &id);
        id
    }

    fn new_image(&self, id: String) -> OutputImage {
        OutputImage {
            id,
            status: "in_progress",
            result: None,
            size: None,
            output_format: self.format.name,
            action: self.format.action,
            background: "opaque",
            quality: "auto",
        }
    }

    /// Ends the message that is being written, if there is one.
    fn close_message(&mut self, status: &'static str) {
        let Open::Message { id, text } = std::mem::replace(&mut self.open, Open::Nothing) else {
            return;
        };
        self.send(
            "response.output_text.done",
            json!({
                "item_id": id,
                "output_index": self.response.output.len(),
                "content_index": 0,
                "text": text,
                "logprobs": [],
            }),
        );
        let part = OutputText::of(text);
        self.send_part("response.content_part.done", &id, part.clone());
        let message = OutputMessage { id, status, role: "assistant", content: vec![part] };
        self.finish_item(OutputItem::Message(message));
    }

    fn finish_item(&mut self, item: OutputItem) {
        self.send_item("response.output_item.done", &item);
        self.response.output.push(item);
    }

    fn send_item(&mut self, name: &'static str, item: &OutputItem) {
        let output_index = self.response.output.len();
        self.send(name, json!({ "output_index": output_index, "item": item }));
    }

    fn send_part(&mut self, name: &'static str, item_id: &str, part: OutputText) {
        let output_index = self.response.output.len();
        self.send(
            name,
            json!({
                "item_id": item_id,
                "output_index": output_index,
                "content_index": 0,
                "part": part,
            }),
        );
    }

    fn send_call(&mut self, name: &'static str, item_id: &str) {
        let output_index = self.response.output.len();
        self.send(name, json!({ "item_id": item_id, "output_index": output_index }));
    }

    fn send_response(&mut self, name: &'static str) {
        let data = json!({ "response": self.response });
        self.send(name, data);
    }

    /// Adds an event with its name and its number.
    fn send(&mut self, name: &'static str, mut data: Value) {
        data["type"] = name.into();
        data["sequence_number"] = self.sequence.into();
        self.sequence += 1;
        self.events.push(StreamEvent { name, data });
    }
}
