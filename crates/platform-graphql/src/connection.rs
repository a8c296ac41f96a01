//! Forward pages as Relay has them, over page tokens.

use std::borrow::Cow;

use async_graphql::{ComplexObject, OutputType, SimpleObject, TypeName};
use platform::error::Refusal;
use platform_contract::PlatformReason;
use tonic::Status;

const FIRST_DEFAULT: i32 = 20;
const FIRST_MAX: i32 = 100;

/// The page that the arguments `first` and `after` ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Between 1 and 100.
    pub size: i32,
    /// Empty for the first page.
    pub token: String,
}

impl Page {
    /// 20 without `first`; what no page can have is refused, not cut.
    pub fn new(first: Option<i32>, after: Option<String>) -> Result<Page, Status> {
        let size = first.unwrap_or(FIRST_DEFAULT);
        if !(1..=FIRST_MAX).contains(&size) {
            let message = format!("`first` must be between 1 and {FIRST_MAX}");
            return Err(Refusal::new(PlatformReason::FieldInvalid, &message)
                .violation("first", message)
                .into());
        }
        Ok(Page {
            size,
            token: after.unwrap_or_default(),
        })
    }
}

/// A page of a list. There is no total: counting would cost more than the page.
#[derive(SimpleObject)]
#[graphql(name_type, complex)]
pub struct Connection<T: OutputType> {
    /// The rows of the page.
    pub edges: Vec<Edge<T>>,
    /// What lies around the page.
    pub page_info: PageInfo,
}

#[ComplexObject]
impl<T: OutputType> Connection<T> {
    /// The rows of the page without their edges.
    async fn nodes(&self) -> Vec<Option<Result<&T, Status>>> {
        self.edges.iter().map(Edge::row).collect()
    }
}

/// A row of a page.
#[derive(SimpleObject)]
#[graphql(name_type)]
pub struct Edge<T: OutputType> {
    /// Null, with an entry in `errors`, if the row cannot be shown.
    pub node: Option<Result<T, Status>>,
    /// Where the next page begins: set at the last row, if there is a next page.
    pub cursor: Option<String>,
}

/// What lies around a page.
#[derive(SimpleObject)]
pub struct PageInfo {
    /// More rows follow.
    pub has_next_page: bool,
    /// Rows come before, as far as that is known: pages are read forward only.
    pub has_previous_page: bool,
    /// Always null: pages are read forward only.
    pub start_cursor: Option<String>,
    /// What to pass as `after` for the next page; null on the last page.
    pub end_cursor: Option<String>,
}

impl<T: OutputType> Connection<T> {
    /// The rows that a service answered for `page`, with its token of the next one.
    pub fn new(
        page: &Page,
        rows: impl IntoIterator<Item = Result<T, Status>>,
        next_token: String,
    ) -> Connection<T> {
        let next = Some(next_token).filter(|token| !token.is_empty());
        let mut edges: Vec<_> = rows
            .into_iter()
            .map(|row| Edge {
                node: Some(row),
                cursor: None,
            })
            .collect();
        if let Some(last) = edges.last_mut() {
            last.cursor.clone_from(&next);
        }
        Connection {
            edges,
            page_info: PageInfo {
                has_next_page: next.is_some(),
                has_previous_page: !page.token.is_empty(),
                start_cursor: None,
                end_cursor: next,
            },
        }
    }
}

impl<T: OutputType> Edge<T> {
    fn row(&self) -> Option<Result<&T, Status>> {
        let row = self.node.as_ref()?;
        Some(row.as_ref().map_err(Status::clone))
    }
}

impl<T: OutputType> TypeName for Connection<T> {
    fn type_name() -> Cow<'static, str> {
        format!("{}Connection", T::type_name()).into()
    }
}

impl<T: OutputType> TypeName for Edge<T> {
    fn type_name() -> Cow<'static, str> {
        format!("{}Edge", T::type_name()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_between_1_and_100_rows() {
        assert_eq!(
            Page::new(None, None).unwrap(),
            Page {
                size: 20,
                token: String::new()
            }
        );
        assert_eq!(
            Page::new(Some(100), Some("t".into())).unwrap(),
            Page {
                size: 100,
                token: "t".into()
            }
        );
        for bad in [0, -1, 101, i32::MAX, i32::MIN] {
            assert_eq!(
                Page::new(Some(bad), None).unwrap_err().code(),
                tonic::Code::InvalidArgument
            );
        }
    }

    #[test]
    fn the_last_row_leads_to_the_next_page() {
        let page = Page::new(None, Some("token".into())).unwrap();
        let connection = Connection::new(&page, [Ok(1), Ok(2)], "next".to_owned());
        assert_eq!(connection.edges[0].cursor, None);
        assert_eq!(connection.edges[1].cursor.as_deref(), Some("next"));
        assert!(connection.page_info.has_next_page && connection.page_info.has_previous_page);
        let last = Connection::new(&page, [Ok(1)], String::new());
        assert!(!last.page_info.has_next_page && last.page_info.end_cursor.is_none());
    }
}
