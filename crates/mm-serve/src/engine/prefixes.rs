//! Keys and values of the prompts that were computed last, for prompts that begin alike: the next
//! turn of a conversation, the empty prompt of guidance, the same caption with another seed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mm_model::{Joining, KnownTokens, LoadedModel, Prefix, Sequence};

/// The most prompts that are kept.
const MOST: usize = 64;
/// The most numbers of their keys and values, 256 MiB.
const MOST_NUMBERS: usize = 64 << 20;

/// The prompts of all models, the latest last.
#[derive(Debug, Default)]
pub(super) struct Prefixes {
    kept: Vec<Kept>,
}

#[derive(Debug)]
struct Kept {
    model: usize,
    prompt: Arc<Sequence>,
    prefix: Prefix,
}

impl Kept {
    /// Says whether this is the prefix of a prompt, and of no longer or shorter one.
    fn is_of(&self, prompt: &Sequence) -> bool {
        self.prompt.len() == prompt.len() && self.prompt.shared_tokens(prompt) == prompt.len()
    }

    /// Counts keys, values and pixels.
    fn numbers(&self) -> usize {
        let pixels = self.prompt.images.iter().map(|image| image.patches.len()).sum::<usize>();
        self.prefix.values() + pixels
    }
}

/// The prefix of a prompt.
pub(super) struct Found {
    pub prefix: Prefix,
    /// Whether the network had to compute some of it.
    pub computed: bool,
}

/// Returns the prefix of a prompt, of which only what no kept prompt begins with is computed.
///
/// Where a token's bits depend on what is computed beside it, a kept prompt is of use only if it is
/// the same one. While the network computes, other lanes may use the prompts.
pub(super) fn of(
    prefixes: &Mutex<Prefixes>,
    model: usize,
    from: &LoadedModel,
    prompt: &Arc<Sequence>,
) -> Found {
    let alike = locked(prefixes).most_alike(model, prompt);
    let alike = match alike {
        Some(Alike { prefix, same: true, .. }) => return Found { prefix, computed: false },
        alike => alike.filter(|_| from.joining() == Joining::Any),
    };
    let known =
        alike.as_ref().map(|Alike { prefix, tokens, .. }| KnownTokens { prefix, tokens: *tokens });
    let prefix = from.prefill(prompt, known);
    if !prompt.is_empty() {
        let kept = Kept { model, prompt: prompt.clone(), prefix: prefix.clone() };
        locked(prefixes).keep(kept);
    }
    Found { prefix, computed: !prompt.is_empty() }
}

fn locked(prefixes: &Mutex<Prefixes>) -> MutexGuard<'_, Prefixes> {
    prefixes.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The kept prompt that has the most tokens in common with another.
struct Alike {
    prefix: Prefix,
    tokens: usize,
    same: bool,
}

impl Prefixes {
    fn most_alike(&mut self, model: usize, prompt: &Sequence) -> Option<Alike> {
        let of_model = self.kept.iter().enumerate().filter(|(_, kept)| kept.model == model);
        let shared = of_model.map(|(at, kept)| (at, kept.prompt.shared_tokens(prompt)));
        let (at, tokens) = shared.max_by_key(|&(_, tokens)| tokens)?;
        if tokens == 0 {
            return None;
        }
        let same = self.kept[at].is_of(prompt);
        let prefix = self.kept[at].prefix.clone();
        if same {
            let latest = self.kept.remove(at);
            self.kept.push(latest);
        }
        Some(Alike { prefix, tokens, same })
    }

    /// Keeps a prompt as the latest, once: another lane may have computed it at the same time.
    fn keep(&mut self, new: Kept) {
        self.kept.retain(|kept| kept.model != new.model || !kept.is_of(&new.prompt));
        self.kept.push(new);
        let mut numbers: usize = self.kept.iter().map(Kept::numbers).sum();
        while self.kept.len() > MOST || (numbers > MOST_NUMBERS && self.kept.len() > 1) {
            numbers -= self.kept.remove(0).numbers();
        }
    }
}
