//! Responses that are kept, in memory alone: as many as fit, the oldest go first.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use mm_model::Segment;

use super::super::talk::Said;
use super::object::ResponseObject;

/// The most responses that are kept.
const MOST: usize = 1000;
/// The most bytes that they may take together.
const MOST_BYTES: usize = 256 << 20;

/// A response and the conversation that it ends.
#[derive(Debug)]
pub(crate) struct Kept {
    pub response: ResponseObject,
    /// Everything that was said, the response included; without instructions.
    pub history: Vec<Said>,
    bytes: usize,
}

/// Responses that are kept.
#[derive(Debug, Default)]
pub(crate) struct Store {
    kept: Mutex<ById>,
}

#[derive(Debug, Default)]
struct ById {
    responses: HashMap<String, Arc<Kept>>,
    /// Ids in the order in which they came; some may be gone.
    order: VecDeque<String>,
    bytes: usize,
}

impl Store {
    /// Keeps a response, and forgets the oldest where there is no room.
    pub fn put(&self, response: ResponseObject, history: Vec<Said>) {
        let id = response.id.clone();
        let bytes = response.bytes() + history.iter().map(bytes_of).sum::<usize>();
        let mut kept = self.lock();
        kept.bytes += bytes;
        kept.order.push_back(id.clone());
        kept.responses.insert(id, Arc::new(Kept { response, history, bytes }));
        while kept.responses.len() > MOST || kept.bytes > MOST_BYTES {
            let Some(oldest) = kept.order.pop_front() else { break };
            kept.remove(&oldest);
        }
    }

    /// Returns a response that is kept.
    pub fn get(&self, id: &str) -> Option<Arc<Kept>> {
        self.lock().responses.get(id).cloned()
    }

    /// Forgets a response; returns whether it was kept.
    pub fn remove(&self, id: &str) -> bool {
        let mut kept = self.lock();
        kept.order.retain(|other| other != id);
        kept.remove(id)
    }

    fn lock(&self) -> MutexGuard<'_, ById> {
        self.kept.lock().unwrap_or_else(|broken| broken.into_inner())
    }
}

impl ById {
    fn remove(&mut self, id: &str) -> bool {
        let Some(gone) = self.responses.remove(id) else { return false };
        self.bytes -= gone.bytes;
        true
    }
}

fn bytes_of(said: &Said) -> usize {
    let bytes = said.segments.iter().map(|segment| match segment {
        Segment::Text { text, .. } => text.len(),
        Segment::Image { image, .. } => image.rgb().len(),
    });
    bytes.sum::<usize>() + size_of::<Said>()
}

#[cfg(test)]
mod tests {
    use mm_patch::Image;

    use super::super::super::talk::Role;
    use super::*;

    fn put(store: &Store, id: &str, history: Vec<Said>) {
        store.put(ResponseObject { id: id.to_owned(), ..ResponseObject::default() }, history);
    }

    #[test]
    fn the_oldest_response_makes_room_for_the_newest() {
        let store = Store::default();
        for at in 0..=MOST {
            put(&store, &at.to_string(), vec![]);
        }
        assert!(store.get("0").is_none());
        assert!(store.get("1").is_some());
        assert!(store.remove("1"));
        assert!(!store.remove("1"));
    }

    #[test]
    fn responses_with_large_images_take_little_memory_together() {
        let store = Store::default();
        let image = Image::filled(4096, 4096, [9; 3]); // 48 MiB
        for at in 0..8 {
            let segments = vec![Segment::context_image(image.clone())];
            put(&store, &at.to_string(), vec![Said { role: Role::User, segments }]);
        }
        assert!(store.get("7").is_some());
        assert!(store.get("0").is_none());
        assert!(store.lock().bytes <= MOST_BYTES);
    }
}
