//! Learning a vocabulary from text: the special tokens, every byte, and then what is met often.

use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, NormalizerWrapper, TokenizerImpl};

use crate::Special;
use crate::bytes::ALPHABET;

/// A pair met once is no habit of the language.
const MIN_COUNT: u64 = 2;

type ByteLevelBpe = TokenizerImpl<BPE, NormalizerWrapper, ByteLevel, ByteLevel, ByteLevel>;

/// A tokenizer of at most `vocab` ids; `vocab` has room for the special tokens and all bytes.
pub(crate) fn train(
    corpus: impl Iterator<Item = String> + Send,
    vocab: usize,
) -> tokenizers::Tokenizer {
    // Its expression never joins brackets with letters, so no learnt token reads like a special one.
    let splitter = ByteLevel::default().add_prefix_space(false).use_regex(true);
    let mut tokenizer = ByteLevelBpe::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(splitter)).with_decoder(Some(splitter));

    let special = Special::default().names().map(|name| AddedToken::from(name, true));
    let mut trainer = BpeTrainer::builder()
        .special_tokens(special.collect())
        .initial_alphabet(ALPHABET.iter().copied().collect())
        .vocab_size(vocab)
        .min_frequency(MIN_COUNT)
        .show_progress(false)
        .build();
    tokenizer.train(&mut trainer, corpus).expect("byte-level splitting takes any text");
    tokenizer.into()
}
