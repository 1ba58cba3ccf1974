//! The special tokens, which stand for no text: their names, and their ids, which are the lowest of
//! every vocabulary that this crate makes. A published tokenizer has its own.

/// The largest number of rows or columns that has a token of its own.
pub const MAX_SIDE: usize = 64;

/// The ids of the special tokens. They are the same in every vocabulary that this crate makes,
/// because they come first and in this order.
///
/// An image is written as `[ROWS=r] [COLS=c] [IMG]`, its patches, `[/IMG]`; under a tokenizer of
/// Fuyu, as rows of patches with [`Rows::newline`] behind each.
///
/// ```
/// use mm_text::Special;
///
/// let special = Special::default();
/// assert_eq!(special.name(special.image).as_deref(), Some("[IMG]"));
/// assert_eq!(special.cols_of(special.cols(7).unwrap()), Some(7));
/// assert_eq!(special.rows(65), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Special {
    /// `[PAD]` fills a row of a batch. It is never attended and never a target.
    pub pad: u32,
    /// `[BEGIN]` is the first token of a document.
    pub begin: u32,
    /// `[END]` is the last token of a document.
    pub end: u32,
    /// `[IMG]` says that the next tokens are the patches of an image.
    pub image: u32,
    /// `[/IMG]` says that the patches are over.
    pub image_end: u32,
    /// How images are written as rows of patches, in a tokenizer of Fuyu; such a tokenizer has no
    /// tokens for sizes.
    pub by_rows: Option<Rows>,
    first_rows: u32,
    first_cols: u32,
}

/// The tokens around images that are written as rows of patches, as in Fuyu (Adept 2023).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rows {
    /// `|NEWLINE|` stands behind every row of patches.
    pub newline: u32,
    /// `<0x04>` stands between a question about an image and the answer.
    pub answer: u32,
}

/// The tokens of Fuyu, as its tokenizer writes them: at the places of patches, behind a row of
/// them, at the beginning of a text, and before an answer.
pub(crate) const FUYU_NAMES: [&str; 4] = ["|SPEAKER|", "|NEWLINE|", "<s>", "<0x04>"];

const NAMES: [&str; 5] = ["[PAD]", "[BEGIN]", "[END]", "[IMG]", "[/IMG]"];

impl Special {
    /// The number of special tokens. The ids `0..COUNT` are theirs.
    pub const COUNT: usize = NAMES.len() + 2 * MAX_SIDE;

    const LAYOUT: Special = Special {
        pad: 0,
        begin: 1,
        end: 2,
        image: 3,
        image_end: 4,
        by_rows: None,
        first_rows: NAMES.len() as u32,
        first_cols: (NAMES.len() + MAX_SIDE) as u32,
    };

    /// Names the special tokens of a tokenizer of Fuyu; `image` stands at the places of patches.
    pub(crate) fn of_rows(begin: u32, end: u32, image: u32, rows: Rows) -> Self {
        let by_rows = Some(rows);
        let nowhere = u32::MAX;
        let (first_rows, first_cols) = (nowhere, nowhere);
        Self { pad: 0, begin, end, image, image_end: rows.newline, by_rows, first_rows, first_cols }
    }

    /// Returns the token that says that the next image has `rows` rows of patches, for
    /// `1..=MAX_SIDE`.
    pub fn rows(&self, rows: usize) -> Option<u32> {
        let has = self.by_rows.is_none() && (1..=MAX_SIDE).contains(&rows);
        has.then(|| self.first_rows + rows as u32 - 1)
    }

    /// Returns the token that says that the next image has `cols` columns of patches, for
    /// `1..=MAX_SIDE`.
    pub fn cols(&self, cols: usize) -> Option<u32> {
        let has = self.by_rows.is_none() && (1..=MAX_SIDE).contains(&cols);
        has.then(|| self.first_cols + cols as u32 - 1)
    }

    /// Returns the number of rows that the token `id` says, where it says one.
    pub fn rows_of(&self, id: u32) -> Option<usize> {
        if self.by_rows.is_some() { None } else { side_of(id, self.first_rows) }
    }

    /// Returns the number of columns that the token `id` says, where it says one.
    pub fn cols_of(&self, id: u32) -> Option<usize> {
        if self.by_rows.is_some() { None } else { side_of(id, self.first_cols) }
    }

    /// Says whether `id` is a special token, which stands for no text.
    pub fn is_special(&self, id: u32) -> bool {
        match self.by_rows {
            None => (id as usize) < Self::COUNT,
            Some(rows) => [self.pad, self.begin, self.end, self.image, rows.newline, rows.answer]
                .contains(&id),
        }
    }

    /// Returns how the special token `id` is written, or `None` for text.
    pub fn name(&self, id: u32) -> Option<String> {
        if let Some(rows) = self.by_rows {
            let names = [
                (self.image, FUYU_NAMES[0]),
                (rows.newline, FUYU_NAMES[1]),
                (self.begin, FUYU_NAMES[2]),
                (rows.answer, FUYU_NAMES[3]),
                (self.end, NAMES[2]),
                (self.pad, NAMES[0]),
            ];
            return names.iter().find(|(own, _)| *own == id).map(|(_, name)| (*name).to_owned());
        }
        if let Some(rows) = self.rows_of(id) {
            return Some(format!("[ROWS={rows}]"));
        }
        if let Some(cols) = self.cols_of(id) {
            return Some(format!("[COLS={cols}]"));
        }
        NAMES.get(id as usize).map(|name| name.to_string())
    }

    /// Returns all names in the order of their ids.
    pub fn names(&self) -> impl Iterator<Item = String> + use<> {
        let special = *self;
        (0..Self::COUNT as u32).filter_map(move |id| special.name(id))
    }
}

impl Default for Special {
    fn default() -> Self {
        Self::LAYOUT
    }
}

fn side_of(id: u32, first: u32) -> Option<usize> {
    let side = id.checked_sub(first)? as usize + 1;
    (side <= MAX_SIDE).then_some(side)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn special_tokens_have_the_lowest_ids_in_a_fixed_order() {
        let names: Vec<String> = Special::default().names().collect();
        assert_eq!(names.len(), Special::COUNT);
        let ends = [0..7, 67..71, 131..133].map(|ids| names[ids].join(" "));
        expect![[r#"
            [PAD] [BEGIN] [END] [IMG] [/IMG] [ROWS=1] [ROWS=2]
            [ROWS=63] [ROWS=64] [COLS=1] [COLS=2]
            [COLS=63] [COLS=64]"#]]
        .assert_eq(&ends.join("\n"));
    }

    #[test]
    fn sides_come_back_from_their_tokens_and_others_have_none() {
        let special = Special::default();
        for side in 1..=MAX_SIDE {
            let (rows, cols) = (special.rows(side).unwrap(), special.cols(side).unwrap());
            assert_eq!((special.rows_of(rows), special.cols_of(rows)), (Some(side), None));
            assert_eq!((special.rows_of(cols), special.cols_of(cols)), (None, Some(side)));
            assert!(special.is_special(rows) && special.is_special(cols));
        }
        for outside in [0, MAX_SIDE + 1, usize::MAX] {
            assert_eq!((special.rows(outside), special.cols(outside)), (None, None));
        }
        for id in [Special::COUNT as u32, u32::MAX] {
            assert!(!special.is_special(id));
            assert_eq!(
                (special.rows_of(id), special.cols_of(id), special.name(id)),
                (None, None, None)
            );
        }
    }
}
