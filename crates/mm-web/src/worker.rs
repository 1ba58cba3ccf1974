//! What JavaScript sees of the crate. Errors are `Error` objects with the library's message and,
//! where a field of the request is wrong, its name as `param`.

use std::cell::RefCell;

use burn::prelude::Device;
use js_sys::{Array, Error, Function, JSON, Object, Reflect, Uint8Array};
use mm_model::ModelParts;
use serde::de::DeserializeOwned;
use serde_json::json;
use wasm_bindgen::prelude::*;

use crate::error::WebError;
use crate::made::Made;
use crate::model::WebModel;
use crate::shown::decoded;

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = include_str!("types.d.ts");

thread_local! {
    /// What the last panic said.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps what a panic says, because the trap that follows it has no words.
#[wasm_bindgen(start)]
pub fn start() {
    std::panic::set_hook(Box::new(|panic| {
        PANIC.with_borrow_mut(|last| *last = Some(panic.to_string()));
    }));
}

/// Returns what the last panic said. After one, the module must be made anew.
#[wasm_bindgen(js_name = lastPanic)]
pub fn last_panic() -> Option<String> {
    PANIC.with_borrow(Clone::clone)
}

/// Panics on purpose, so that a page can be tested.
#[wasm_bindgen(js_name = panicForTest)]
pub fn panic_for_test() {
    panic!("a panic that was asked for");
}

/// Reads an image file of any format that the library knows: `{width, height, rgb}`.
#[wasm_bindgen(unchecked_return_type = "{ width: number, height: number, rgb: Uint8Array }")]
pub fn pixels(file: &[u8]) -> Result<JsValue, JsValue> {
    let image = decoded(file, "image").map_err(error)?;
    let object = object(&json!({ "width": image.width(), "height": image.height() }))?;
    Reflect::set(&object, &"rgb".into(), &Uint8Array::from(image.rgb()))?;
    Ok(object)
}

/// A trained model. `free()` gives its memory back.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Model {
    inner: WebModel,
}

#[wasm_bindgen]
impl Model {
    /// Makes a model from the contents of its four files.
    pub fn load(
        name: &str,
        config: &[u8],
        tokenizer: &[u8],
        generation_config: &[u8],
        weights: &[u8],
    ) -> Result<Self, JsValue> {
        let parts = ModelParts { config, tokenizer, generation: generation_config, weights };
        let inner = WebModel::load(name, parts, &Device::default()).map_err(error)?;
        Ok(Self { inner })
    }

    /// Returns what is known of the model.
    #[wasm_bindgen(unchecked_return_type = "ModelInfo")]
    pub fn info(&self) -> Result<JsValue, JsValue> {
        let model = &self.inner.model;
        object(&json!({
            "name": self.inner.name,
            "parameters": model.config.parameters(),
            "width": model.generation.width,
            "height": model.generation.height,
            "patch": model.config.patch,
            "steps": model.generation.steps,
            "has_text": model.config.has_text() && model.model.knows_text(),
        }))
    }

    /// Returns the number of tokens that a text has.
    pub fn count(&self, text: &str) -> usize {
        self.inner.model.tokenizer.encode(text).len()
    }

    /// Draws one image; `on` hears of every step, and of the image.
    pub fn draw(
        &self,
        #[wasm_bindgen(unchecked_param_type = "DrawRequest")] request: &JsValue,
        #[wasm_bindgen(unchecked_param_type = "(made: Made) => void")] on: &Function,
    ) -> Result<(), JsValue> {
        let request = parsed(request)?;
        telling(on, |told| self.inner.draw(&request, told))
    }

    /// Edits an image: what `mask` frees, or the whole by `strength` or by instruction.
    pub fn edit(
        &self,
        #[wasm_bindgen(unchecked_param_type = "DrawRequest")] request: &JsValue,
        image: &[u8],
        mask: Option<Vec<u8>>,
        #[wasm_bindgen(unchecked_param_type = "(made: Made) => void")] on: &Function,
    ) -> Result<(), JsValue> {
        let request = parsed(request)?;
        telling(on, |told| self.inner.edit(&request, image, mask.as_deref(), told))
    }

    /// Writes a caption of an image.
    pub fn read(
        &self,
        #[wasm_bindgen(unchecked_param_type = "ReadRequest")] request: &JsValue,
        image: &[u8],
    ) -> Result<String, JsValue> {
        self.inner.read(&parsed(request)?, image).map_err(error)
    }

    /// Goes on with a conversation; `on` hears of every piece of text and of every image.
    pub fn generate(
        &self,
        #[wasm_bindgen(unchecked_param_type = "ChatRequest")] request: &JsValue,
        #[wasm_bindgen(unchecked_param_type = "Uint8Array[]")] images: &Array,
        #[wasm_bindgen(unchecked_param_type = "(made: Made) => void")] on: &Function,
    ) -> Result<(), JsValue> {
        let request = parsed(request)?;
        let files: Vec<Vec<u8>> =
            images.iter().map(|image| Uint8Array::new(&image).to_vec()).collect();
        telling(on, |told| self.inner.chat(&request, &files, told))
    }
}

/// Runs `work`, whose events go to `on`. What `on` throws first is thrown at the end.
fn telling(
    on: &Function,
    work: impl FnOnce(&mut dyn FnMut(Made)) -> Result<(), WebError>,
) -> Result<(), JsValue> {
    let mut thrown = None;
    let mut told = |made: Made| {
        let called = event(made).and_then(|event| on.call1(&JsValue::NULL, &event));
        if let (Err(why), None) = (called, &thrown) {
            thrown = Some(why);
        }
    };
    work(&mut told).map_err(error)?;
    thrown.map_or(Ok(()), Err)
}

/// Makes the event of something that was made.
fn event(made: Made) -> Result<JsValue, JsValue> {
    match made {
        Made::Step { done, of, estimate } => {
            let event = object(&json!({ "type": "step", "done": done, "of": of }))?;
            if let Some(estimate) = estimate {
                let png = Uint8Array::from(estimate.encode_png().as_slice());
                Reflect::set(&event, &"estimate".into(), &png)?;
            }
            Ok(event)
        }
        Made::Image { pixels, png } => {
            let (width, height) = (pixels.width(), pixels.height());
            let event = object(&json!({ "type": "image", "width": width, "height": height }))?;
            Reflect::set(&event, &"png".into(), &Uint8Array::from(png.as_slice()))?;
            Ok(event)
        }
        Made::Text(text) => object(&json!({ "type": "text", "text": text })),
    }
}

/// Reads a request; fields that are `undefined` are not there.
fn parsed<T: DeserializeOwned>(request: &JsValue) -> Result<T, JsValue> {
    let text = JSON::stringify(request)?.as_string().unwrap_or_default();
    serde_json::from_str(&text).map_err(|why| error(why.into()))
}

fn object(value: &serde_json::Value) -> Result<JsValue, JsValue> {
    JSON::parse(&value.to_string())
}

/// Makes the `Error` that JavaScript sees.
fn error(why: WebError) -> JsValue {
    let error = Error::new(&why.words());
    if let Some(field) = why.field() {
        // A plain object takes every property.
        let _ = Reflect::set(&error, &"param".into(), &field.into());
    }
    Object::from(error).into()
}
