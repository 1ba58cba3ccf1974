//! Byte-level BPE (Sennrich et al. 2016, arXiv:1508.07909, over bytes as in GPT-2): text to ids and
//! back, without loss.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{
    AddedToken, Model, NormalizerWrapper, OffsetType, PreTokenizedString, PreTokenizer,
    TokenizerImpl,
};

use crate::bytes::{ALPHABET, bytes_of};
use crate::{Special, TextError, check, published};

/// The least number of times that a pair must be met to become a token.
const MIN_COUNT: u64 = 2;

type ByteLevelBpe = TokenizerImpl<BPE, NormalizerWrapper, ByteLevel, ByteLevel, ByteLevel>;

/// Turns text into ids and back. Any text comes back as it was, and none makes a special token.
///
/// ```
/// use mm_text::Tokenizer;
///
/// let corpus = ["a cat", "a cat and a hat"].map(String::from);
/// let tokenizer = Tokenizer::train(corpus.into_iter(), 400)?;
///
/// let ids = tokenizer.encode("a cat says [IMG]");
/// assert_eq!(tokenizer.decode(&ids), "a cat says [IMG]");
/// // Only the caller can say that an image begins.
/// assert!(!ids.contains(&tokenizer.special().image));
///
/// let copy = Tokenizer::from_json(tokenizer.to_json().as_bytes())?;
/// assert_eq!(copy.encode("a cat says [IMG]"), ids);
/// # Ok::<(), mm_text::TextError>(())
/// ```
#[derive(Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// The bytes of each id, none for special tokens.
    pieces: Arc<[Vec<u8>]>,
    special: Special,
    /// Whether the blank that a published tokenizer puts before every text is taken off again.
    strips_blank: bool,
}

impl Tokenizer {
    /// Learns a vocabulary of at most `vocab` ids from `corpus`: the special tokens, the 256 bytes,
    /// and then the pairs met most often, as long as one is met twice.
    ///
    /// Texts give one tokenizer in whatever order they come. A `vocab` without room for the
    /// special tokens and the bytes is an error.
    pub fn train(
        corpus: impl Iterator<Item = String> + Send,
        vocab: usize,
    ) -> Result<Self, TextError> {
        let wanted = Special::COUNT + 256;
        if vocab < wanted {
            return Err(TextError::VocabTooSmall { found: vocab, wanted });
        }
        Ok(Self::new(train(corpus, vocab)))
    }

    /// Reads the text of a `tokenizer.json`, of this crate's or one that Hugging Face's library
    /// saved.
    ///
    /// A file that could lose text, or does not have the special tokens of [`Special`], is an
    /// error. A tokenizer of Fuyu, which has `|SPEAKER|` and `|NEWLINE|`, is taken as it is: its
    /// `post_processor` says with which token a document ends.
    pub fn from_json(json: &[u8]) -> Result<Self, TextError> {
        let read = |source| TextError::Json { source };
        let json: Value = serde_json::from_slice(json).map_err(read)?;
        if published::is_of_fuyu(&json) {
            return published::check(&json).and_then(|()| {
                let inner = serde_json::from_str(&json.to_string()).map_err(read)?;
                Self::published(inner, &json)
            });
        }
        check::check(&json)?;
        // The checked value is what is read, because in the bytes a key may stand twice.
        Ok(Self::new(serde_json::from_str(&json.to_string()).map_err(read)?))
    }

    /// Returns the text of a `tokenizer.json`, which Hugging Face's library opens.
    pub fn to_json(&self) -> String {
        self.inner.to_string(true).expect("a tokenizer is made of strings and numbers")
    }

    /// Returns the ids of `text`, of which none is special: `[IMG]` in a text is five characters.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        if self.special.by_rows.is_some() {
            let ids = self.inner.encode(text, false).map(|found| found.get_ids().to_vec());
            return self.spelled_out(ids.unwrap_or_default());
        }
        // `tokenizers::Tokenizer::encode` would look for special tokens in the text first.
        let mut words = PreTokenizedString::from(text);
        if let Some(splitter) = self.inner.get_pre_tokenizer() {
            splitter.pre_tokenize(&mut words).expect("byte-level splitting takes any text");
        }
        words
            .tokenize(|word| self.inner.get_model().tokenize(word.get()))
            .and_then(|()| words.into_encoding(None, 0, OffsetType::None))
            .expect("every byte is in the vocabulary")
            .get_ids()
            .to_vec()
    }

    /// Spells the special tokens that a published vocabulary finds in a text in bytes, since they
    /// are text here too.
    fn spelled_out(&self, ids: Vec<u32>) -> Vec<u32> {
        let is_name = |id: u32| id != self.special.pad && self.special.is_special(id);
        if !ids.iter().any(|id| is_name(*id)) {
            return ids;
        }
        let spell = |id: u32| {
            let name = self.inner.id_to_token(id).filter(|_| is_name(id));
            let bytes = name.map(|name| published::byte_tokens(&name));
            let spelled = bytes.map(|bytes| {
                bytes.iter().filter_map(|token| self.inner.token_to_id(token)).collect()
            });
            spelled.unwrap_or(vec![id])
        };
        ids.into_iter().flat_map(spell).collect()
    }

    /// Returns the text of `ids`. Special tokens and ids outside the vocabulary stand for no text;
    /// bytes that are not UTF-8 become U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        let pieces = ids.iter().filter_map(|&id| self.pieces.get(id as usize));
        let bytes: Vec<u8> = pieces.flatten().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        match text.strip_prefix(' ').filter(|_| self.strips_blank) {
            Some(rest) => rest.to_owned(),
            None => text.into_owned(),
        }
    }

    /// Returns the number of ids, special ones included.
    pub fn vocab(&self) -> usize {
        self.pieces.len()
    }

    /// Returns the ids of the special tokens.
    pub fn special(&self) -> &Special {
        &self.special
    }

    pub(crate) fn pieces(&self) -> Arc<[Vec<u8>]> {
        self.pieces.clone()
    }

    /// Wraps a tokenizer that has passed [`check`](check::check) or was made so that it would.
    fn new(inner: tokenizers::Tokenizer) -> Self {
        let special = Special::default();
        let piece = |id| match inner.id_to_token(id) {
            Some(token) if !special.is_special(id) => bytes_of(&token).unwrap_or_default(),
            _ => Vec::new(),
        };
        let pieces = (0..inner.get_vocab_size(true) as u32).map(piece).collect();
        Self { inner, pieces, special, strips_blank: false }
    }

    /// Wraps a tokenizer of Fuyu.
    fn published(mut inner: tokenizers::Tokenizer, json: &Value) -> Result<Self, TextError> {
        inner.set_encode_special_tokens(true);
        let special = published::special_of(json, &|name| inner.token_to_id(name))?;
        let style = published::PieceStyle::of(json);
        let silent = published::silent_ids(json);
        let piece = |id| match inner.id_to_token(id) {
            Some(token) if !special.is_special(id) && !silent.contains(&id) => style.bytes(&token),
            _ => Vec::new(),
        };
        let pieces = (0..inner.get_vocab_size(true) as u32).map(piece).collect();
        let strips_blank = style.strips_blank();
        Ok(Self { inner, pieces, special, strips_blank })
    }
}

/// Prints the size alone, because the vocabulary would fill pages.
impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer").field("vocab", &self.vocab()).finish_non_exhaustive()
    }
}

/// Trains a tokenizer of at most `vocab` ids, which has room for the special tokens and all bytes.
fn train(corpus: impl Iterator<Item = String> + Send, vocab: usize) -> tokenizers::Tokenizer {
    // The expression never joins brackets with letters, so no learned token reads like a special
    // one.
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

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use expect_test::expect;
    use proptest::prelude::*;

    use super::*;

    const CORPUS: [&str; 6] = [
        "the cat sat on the mat, and the other cat on the other mat",
        "a cat in a hat; that hat is the cat's",
        "Привет, мир! Привет, кот!",
        "猫は猫である 猫は猫である",
        "[IMG] [IMG] [IMG] [/IMG] [ROWS=1] [ROWS=1] [ROWS=1]",
        "  \n\n\t  \n\n\t  🦀🦀🦀",
    ];

    static TRAINED: LazyLock<Tokenizer> = LazyLock::new(|| train(CORPUS, 430));

    fn train<'a>(corpus: impl IntoIterator<Item = &'a str>, vocab: usize) -> Tokenizer {
        let texts: Vec<String> = corpus.into_iter().map(str::to_owned).collect();
        Tokenizer::train(texts.into_iter(), vocab).unwrap()
    }

    #[test]
    fn words_met_often_become_one_token() {
        assert_eq!(TRAINED.vocab(), 430);
        assert_eq!(TRAINED.encode(" the").len(), 1);
        assert_eq!(TRAINED.encode("xyz").len(), 3);
        assert_eq!(train([], 389).vocab(), 389);
    }

    #[test]
    fn the_same_texts_in_any_order_give_the_same_tokenizer() {
        let corpus = || CORPUS.into_iter().cycle().take(30);
        let first = train(corpus(), 500).to_json();
        for _ in 0..3 {
            assert_eq!(train(corpus(), 500).to_json(), first);
        }
        let mut sorted: Vec<&str> = corpus().collect();
        sorted.sort_unstable();
        assert_eq!(train(sorted, 500).to_json(), first);
    }

    #[test]
    fn a_vocabulary_without_room_for_the_bytes_is_refused() {
        let error = Tokenizer::train(std::iter::empty(), 388).unwrap_err();
        expect!["`vocab` is 388, wanted at least 389 for the special tokens and the 256 bytes"]
            .assert_eq(&error.to_string());
    }

    #[test]
    fn text_that_reads_like_a_special_token_is_text() {
        for name in TRAINED.special().names() {
            let text = format!("{name} x{name}{name}");
            let ids = TRAINED.encode(&text);
            assert!(
                ids.iter().all(|&id| !TRAINED.special().is_special(id)),
                "{text} became {ids:?}"
            );
            assert_eq!(TRAINED.decode(&ids), text);
        }
    }

    #[test]
    fn special_and_unknown_ids_stand_for_no_text() {
        let special = *TRAINED.special();
        let ids = [
            &[special.begin, special.image][..],
            &TRAINED.encode("a"),
            &[430, u32::MAX, special.end],
        ];
        assert_eq!(TRAINED.decode(&ids.concat()), "a");
    }

    #[test]
    fn bytes_that_are_not_utf8_become_replacement_characters() {
        let crab = TRAINED.encode("\u{1f980}\u{e9}");
        let broken: Vec<u32> = crab.iter().rev().copied().collect();
        assert!(TRAINED.decode(&broken).contains('\u{fffd}'));
    }

    #[test]
    fn every_byte_has_a_token_and_comes_back() {
        let text: String =
            (0..0x250u32).chain(0xfff0..0x10010).filter_map(char::from_u32).collect();
        let ids = TRAINED.encode(&text);
        assert_eq!(TRAINED.decode(&ids), text);
        assert_eq!(TRAINED.inner.decode(&ids, true).unwrap(), text);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(192))]

        #[test]
        fn a_spliced_file_is_read_or_refused(
            at in any::<usize>(),
            cut in 0usize..12,
            put in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..8),
                "[-0-9.,:\"\\\\{}a-z ]{0,16}".prop_map(String::into_bytes),
                Just(b"null".to_vec()),
                Just(b"4294967296".to_vec()),
            ],
        ) {
            static WHOLE: LazyLock<Vec<u8>> =
                LazyLock::new(|| train([], 389).to_json().into_bytes());
            let at = at % WHOLE.len();
            let end = WHOLE.len().min(at + cut);
            let spliced = [&WHOLE[..at], &put, &WHOLE[end..]].concat();
            if let Ok(tokenizer) = Tokenizer::from_json(&spliced) {
                prop_assert_eq!(tokenizer.decode(&tokenizer.encode("a [IMG]")), "a [IMG]");
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_comes_back(text in ".{0,40}|[ \\n\\[\\]A-Z/=1]{0,40}", raw in any::<String>()) {
            let text = text + &raw;
            let ids = TRAINED.encode(&text);
            prop_assert!(ids.iter().all(|&id| !TRAINED.special().is_special(id)));
            prop_assert_eq!(TRAINED.decode(&ids), text);
        }

        #[test]
        fn a_copy_through_json_gives_the_same_ids(text in any::<String>()) {
            static COPY: LazyLock<Tokenizer> =
                LazyLock::new(|| Tokenizer::from_json(TRAINED.to_json().as_bytes()).unwrap());
            prop_assert_eq!(COPY.encode(&text), TRAINED.encode(&text));
            prop_assert_eq!(COPY.to_json().len(), TRAINED.to_json().len());
        }
    }
}
