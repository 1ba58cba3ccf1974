//! Pages of a column, checked before they are unpacked: a damaged count must not ask for more
//! memory than there is.

use parquet::basic::Encoding;
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};

/// The pages of another reader, if their encodings are those of text and bytes that `datasets` and
/// pyarrow write, and if their counts fit their bytes.
pub(super) struct Checked(pub(super) Box<dyn PageReader>);

impl Iterator for Checked {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Checked {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        self.0.get_next_page()?.map(checked).transpose()
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.0.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.0.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> Result<bool> {
        self.0.at_record_boundary()
    }
}

fn checked(page: Page) -> Result<Page> {
    use Encoding::{PLAIN, PLAIN_DICTIONARY, RLE_DICTIONARY};
    let wrong = |why: String| Err(ParquetError::General(why));
    if !matches!(page.encoding(), PLAIN | PLAIN_DICTIONARY | RLE_DICTIONARY) {
        return wrong(format!(
            "a page is encoded as {}, wanted plain or dictionary",
            page.encoding()
        ));
    }
    let (values, bytes) = (page.num_values() as usize, page.buffer().len());
    match page {
        Page::DictionaryPage { .. } if values > bytes / 4 => {
            wrong(format!("a dictionary of {bytes} bytes cannot hold {values} values"))
        }
        page => Ok(page),
    }
}
