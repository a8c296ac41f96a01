use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use platform::error::Details;
use platform::sealed::Sealer;
use platform_contract::{Paged, PlatformReason};
use tonic::Status;

use crate::Page;
use crate::page::page;

#[derive(Clone, PartialEq, prost::Message)]
struct List {
    #[prost(int32, tag = "1")]
    page_size: i32,
    #[prost(string, tag = "2")]
    page_token: String,
    #[prost(string, tag = "3")]
    filter: String,
}

impl Paged for List {
    const METHOD: &'static str = "/test.v1.TestService/List";

    fn page_size(&self) -> i32 {
        self.page_size
    }

    fn page_token(&self) -> &str {
        &self.page_token
    }

    fn query(&self) -> List {
        List {
            page_size: 0,
            page_token: String::new(),
            filter: self.filter.clone(),
        }
    }
}

type Key = (i64, String);

fn open(request: &List) -> Result<Page<Key>, Status> {
    page(&Sealer::from_keys([7; 32], None), request)
}

fn list(page_size: i32, page_token: &str, filter: &str) -> List {
    List {
        page_size,
        page_token: page_token.to_owned(),
        filter: filter.to_owned(),
    }
}

fn token(filter: &str) -> String {
    let page = open(&list(2, "", filter)).unwrap();
    let mut rows = vec![1, 2, 3];
    page.next(&mut rows, |row| (*row, "é".to_owned()))
}

fn refused_as(request: &List) -> Option<String> {
    Details::of(&open(request).err()?).reason
}

#[test]
fn a_page_goes_on_behind_the_last_row_of_the_one_before() {
    let first = open(&list(2, "", "x")).unwrap();
    assert_eq!((first.size, first.limit()), (2, 3));
    assert_eq!(first.after, None);
    let mut rows = vec![1, 2, 3];
    let token = first.next(&mut rows, |row| (*row, "é".to_owned()));
    assert_eq!(rows, [1, 2]);

    // The size may change from page to page.
    let second = open(&list(3, &token, "x")).unwrap();
    assert_eq!(second.after, Some((2, "é".to_owned())));
    let mut rows = vec![3, 4, 5];
    assert_eq!(second.next(&mut rows, |row| (*row, String::new())), "");
    assert_eq!(rows, [3, 4, 5]);
}

#[test]
fn sizes_have_a_default_and_a_maximum_and_no_sign() {
    let size = |size| open(&list(size, "", "")).unwrap().size;
    assert_eq!(size(0), 20);
    assert_eq!(size(1), 1);
    assert_eq!(size(100), 100);
    assert_eq!(size(101), 100);
    assert_eq!(size(i32::MAX), 100);
    for negative in [-1, i32::MIN] {
        let status = open(&list(negative, "", "")).err().unwrap();
        assert!(Details::is(&status, PlatformReason::FieldInvalid));
        assert_eq!(Details::of(&status).violations[0].0, "page_size");
    }
}

#[test]
fn a_token_of_another_query_is_refused() {
    let token = token("x");
    let reason = refused_as(&list(2, &token, "y"));
    assert_eq!(reason.as_deref(), Some("PAGE_TOKEN_INVALID"));
}

#[test]
fn a_token_with_one_bit_flipped_is_refused() {
    let good = URL_SAFE_NO_PAD.decode(token("x")).unwrap();
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let reason = refused_as(&list(2, &URL_SAFE_NO_PAD.encode(bad), "x"));
        assert_eq!(reason.as_deref(), Some("PAGE_TOKEN_INVALID"), "bit {bit}");
    }
    for garbage in ["x", "AAAA", "ä"] {
        let reason = refused_as(&list(2, garbage, "x"));
        assert_eq!(reason.as_deref(), Some("PAGE_TOKEN_INVALID"));
    }
}
