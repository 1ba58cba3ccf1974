//! Keys and values of the prompts that were computed last, for prompts that begin alike: the next
//! turn of a conversation, the empty prompt of guidance, the same caption with another seed.

use std::sync::Arc;

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

impl Prefixes {
    /// Returns the prefix of a prompt, of which only what no kept prompt begins with is computed.
    ///
    /// Where a token's bits depend on what is computed beside it, a kept prompt is of use only if
    /// it is the same one.
    pub fn of(&mut self, model: usize, from: &LoadedModel, prompt: &Arc<Sequence>) -> Found {
        let of_model = self.kept.iter().enumerate().filter(|(_, kept)| kept.model == model);
        let shared = of_model.map(|(at, kept)| (at, kept.prompt.shared_tokens(prompt)));
        let best = shared.max_by_key(|&(_, tokens)| tokens).filter(|&(_, tokens)| tokens > 0);
        let same = best
            .filter(|&(at, tokens)| tokens == prompt.len() && tokens == self.kept[at].prompt.len());
        if let Some((at, _)) = same {
            let kept = self.kept.remove(at);
            let prefix = kept.prefix.clone();
            self.kept.push(kept);
            return Found { prefix, computed: false };
        }
        let best = best.filter(|_| from.joining() == Joining::Any);
        let known = best.map(|(at, tokens)| KnownTokens { prefix: &self.kept[at].prefix, tokens });
        let prefix = from.prefill(prompt, known);
        if !prompt.is_empty() {
            self.keep(Kept { model, prompt: prompt.clone(), prefix: prefix.clone() });
        }
        Found { prefix, computed: !prompt.is_empty() }
    }

    fn keep(&mut self, new: Kept) {
        self.kept.push(new);
        let mut numbers: usize = self.kept.iter().map(Kept::numbers).sum();
        while self.kept.len() > MOST || (numbers > MOST_NUMBERS && self.kept.len() > 1) {
            numbers -= self.kept.remove(0).numbers();
        }
    }
}
