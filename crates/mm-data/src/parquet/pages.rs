//! Pages of a column, checked before they are unpacked: a damaged count must not ask for more
//! memory than there is.

use parquet::basic::Encoding;
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};

/// The most values that a byte of lengths may stand for: a block of 128 values has at least one.
const MOST_VALUES_PER_BYTE: usize = 128;

/// The pages of another reader, if their encodings are those of text and bytes, and if their counts
/// fit their bytes.
pub(super) struct Checked {
    pub(super) pages: Box<dyn PageReader>,
    /// Whether the column is in a list, and whether anything on its path may be null.
    pub(super) repeats: bool,
    pub(super) nulls: bool,
}

impl Iterator for Checked {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Checked {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let page = self.pages.get_next_page()?;
        page.map(|page| self.checked(page)).transpose()
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.pages.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.pages.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> Result<bool> {
        self.pages.at_record_boundary()
    }
}

impl Checked {
    fn checked(&self, page: Page) -> Result<Page> {
        use Encoding::{
            DELTA_BYTE_ARRAY, DELTA_LENGTH_BYTE_ARRAY, PLAIN, PLAIN_DICTIONARY, RLE_DICTIONARY,
        };
        let (values, bytes) = (page.num_values() as usize, page.buffer().len());
        match (&page, page.encoding()) {
            (Page::DictionaryPage { .. }, _) if values > bytes / 4 => Err(ParquetError::General(
                format!("a dictionary of {bytes} bytes cannot hold {values} values"),
            )),
            (_, PLAIN | PLAIN_DICTIONARY | RLE_DICTIONARY) => Ok(page),
            (_, DELTA_LENGTH_BYTE_ARRAY) => {
                lengths_end(self.behind_levels(&page)?)?;
                Ok(page)
            }
            (_, DELTA_BYTE_ARRAY) => {
                let found = self.behind_levels(&page)?;
                let prefixes = lengths_end(found)?;
                lengths_end(found.get(prefixes..).ok_or_else(short)?)?;
                Ok(page)
            }
            (_, other) => Err(ParquetError::General(format!(
                "a page is encoded as {other}, wanted plain, dictionary or delta of bytes"
            ))),
        }
    }

    /// Returns the values of a page: what lies behind its levels.
    fn behind_levels<'a>(&self, page: &'a Page) -> Result<&'a [u8]> {
        let mut rest: &[u8] = page.buffer();
        match page {
            Page::DataPageV2 { def_levels_byte_len, rep_levels_byte_len, .. } => {
                let levels = u64::from(*def_levels_byte_len) + u64::from(*rep_levels_byte_len);
                rest.get(levels as usize..).ok_or_else(short)
            }
            _ => {
                for _ in 0..usize::from(self.repeats) + usize::from(self.nulls) {
                    let (length, behind) = rest.split_first_chunk().ok_or_else(short)?;
                    let length = u32::from_le_bytes(*length) as usize;
                    rest = behind.get(length..).ok_or_else(short)?;
                }
                Ok(rest)
            }
        }
    }
}

fn short() -> ParquetError {
    ParquetError::EOF("a page ends before its values".into())
}

/// Returns where a run of lengths ends that is encoded as `DELTA_BINARY_PACKED` (Parquet's
/// `Encodings.md`), if its count fits its bytes.
fn lengths_end(bytes: &[u8]) -> Result<usize> {
    let mut at = 0;
    let number = |at: &mut usize| -> Result<usize> {
        let mut found = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = *bytes.get(*at).ok_or_else(short)?;
            *at += 1;
            found |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(found as usize);
            }
        }
        Err(short())
    };
    let (block, parts) = (number(&mut at)?, number(&mut at)?);
    let (count, _first) = (number(&mut at)?, number(&mut at)?);
    if parts == 0 || block % 128 != 0 || block % parts != 0 || block / parts % 32 != 0 {
        return Err(ParquetError::General(format!("lengths in blocks of {block} and {parts}")));
    }
    if count > bytes.len().saturating_mul(MOST_VALUES_PER_BYTE) {
        let found = bytes.len();
        return Err(ParquetError::General(format!("{found} bytes cannot hold {count} lengths")));
    }
    let mut left = count.saturating_sub(1);
    while left > 0 {
        let _least = number(&mut at)?;
        let widths = bytes.get(at..).and_then(|rest| rest.get(..parts)).ok_or_else(short)?;
        at += parts;
        for width in widths {
            if left > 0 {
                at = at.saturating_add(usize::from(*width).saturating_mul(block / parts) / 8);
                left = left.saturating_sub(block / parts);
            }
        }
    }
    Ok(at)
}
