//! What JavaScript sees of the crate. Errors are `Error` objects with the library's message and,
//! where a field of the request is wrong, its name as `param`.
//!
//! All that computes returns a promise, because a graphics device answers later. The processor is
//! done before the promise is returned, so that a trap there is thrown by the call.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use js_sys::futures::future_to_promise;
use js_sys::{Array, Error, Function, JSON, Object, Promise, Reflect, Uint8Array};
use mm_model::ModelParts;
use serde::de::DeserializeOwned;
use serde_json::json;
use wasm_bindgen::prelude::*;

use crate::device::device;
use crate::error::WebError;
use crate::made::{Made, Told};
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
    inner: Rc<WebModel>,
}

#[wasm_bindgen]
impl Model {
    /// Makes a model from the contents of its four files.
    #[wasm_bindgen(unchecked_return_type = "Promise<Model>")]
    pub fn load(
        name: String,
        config: Vec<u8>,
        tokenizer: Vec<u8>,
        generation_config: Vec<u8>,
        weights: Vec<u8>,
    ) -> Promise {
        promise(async move {
            let parts = ModelParts {
                config: &config,
                tokenizer: &tokenizer,
                generation: &generation_config,
                weights: &weights,
            };
            let inner =
                WebModel::load(&name, parts, &device().await.map_err(error)?).map_err(error)?;
            Ok(Self { inner: Rc::new(inner) }.into())
        })
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
    #[wasm_bindgen(unchecked_return_type = "Promise<void>")]
    pub fn draw(
        &self,
        #[wasm_bindgen(unchecked_param_type = "DrawRequest")] request: JsValue,
        #[wasm_bindgen(unchecked_param_type = "(made: Made) => void")] on: Function,
    ) -> Promise {
        let model = self.inner.clone();
        promise(async move {
            let request = parsed(&request)?;
            telling(&on, async |told| model.draw(&request, told).await).await
        })
    }

    /// Edits an image: what `mask` frees, or the whole by `strength` or by instruction.
    #[wasm_bindgen(unchecked_return_type = "Promise<void>")]
    pub fn edit(
        &self,
        #[wasm_bindgen(unchecked_param_type = "DrawRequest")] request: JsValue,
        image: Vec<u8>,
        mask: Option<Vec<u8>>,
        #[wasm_bindgen(unchecked_param_type = "(made: Made) => void")] on: Function,
    ) -> Promise {
        let model = self.inner.clone();
        promise(async move {
            let request = parsed(&request)?;
            let mask = mask.as_deref();
            telling(&on, async |told| model.edit(&request, &image, mask, told).await).await
        })
    }

    /// Writes a caption of an image.
    #[wasm_bindgen(unchecked_return_type = "Promise<string>")]
    pub fn read(
        &self,
        #[wasm_bindgen(unchecked_param_type = "ReadRequest")] request: JsValue,
        image: Vec<u8>,
    ) -> Promise {
        let model = self.inner.clone();
        promise(async move {
            let text = model.read(&parsed(&request)?, &image).await;
            text.map(JsValue::from).map_err(error)
        })
    }

    /// Goes on with a conversation; `on` hears of every piece of text and of every image.
    #[wasm_bindgen(unchecked_return_type = "Promise<void>")]
    pub fn generate(
        &self,
        #[wasm_bindgen(unchecked_param_type = "ChatRequest")] request: JsValue,
        #[wasm_bindgen(unchecked_param_type = "Uint8Array[]")] images: &Array,
        #[wasm_bindgen(unchecked_param_type = "(made: Made) => void")] on: Function,
    ) -> Promise {
        let model = self.inner.clone();
        let files: Vec<Vec<u8>> =
            images.iter().map(|image| Uint8Array::new(&image).to_vec()).collect();
        promise(async move {
            let request = parsed(&request)?;
            telling(&on, async |told| model.chat(&request, &files, told).await).await
        })
    }
}

/// Begins work at once; what waits for the device goes on when it answers.
fn promise(work: impl Future<Output = Result<JsValue, JsValue>> + 'static) -> Promise {
    let mut work = Box::pin(work);
    match work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(result)) => Promise::resolve(&result),
        Poll::Ready(Err(why)) => Promise::reject(&why),
        Poll::Pending => future_to_promise(work),
    }
}

/// Does `work`, whose events go to `on`. What `on` throws first is thrown at the end.
async fn telling(
    on: &Function,
    work: impl AsyncFnOnce(Told<'_>) -> Result<(), WebError>,
) -> Result<JsValue, JsValue> {
    let mut thrown = None;
    let mut told = |made: Made| {
        let called = event(made).and_then(|event| on.call1(&JsValue::NULL, &event));
        if let (Err(why), None) = (called, &thrown) {
            thrown = Some(why);
        }
    };
    work(&mut told).await.map_err(error)?;
    thrown.map_or(Ok(JsValue::UNDEFINED), Err)
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
    if why.is_of_device() {
        error.set_name("DeviceError");
    }
    if let Some(field) = why.field() {
        // A plain object takes every property.
        let _ = Reflect::set(&error, &"param".into(), &field.into());
    }
    Object::from(error).into()
}
