//! Requests into types of the domain; every broken rule of a request is told at once.

use std::collections::HashSet;

use api::homeward::catalog::v1::{
    CastVoteRequest, CreateOfferRequest, ListOffersRequest, OfferOrder, OfferPatch,
    UpdateOfferRequest,
};
use api::homeward::r#type::v1::Money as ProtoMoney;
use platform::auth::Caller;
use platform::error::FieldErrors;
use tonic::Status;

use super::viewer;
use crate::domain::{Content, Error, Listing, Money, OfferId, Order, OrganisationId, Patch, Vote};

const TITLE_CHARS_MAX: usize = 120;
const DESCRIPTION_CHARS_MAX: usize = 4000;
const SEARCH_CHARS_MAX: usize = 200;
const BATCH_MAX: usize = 100;
const CHOICES_MAX: usize = 16;

pub(super) fn content(request: &CreateOfferRequest) -> Result<Content, Status> {
    let mut fields = FieldErrors::default();
    let content = Content {
        title: fields.text("title", &request.title, 1..=TITLE_CHARS_MAX),
        description: fields.text_multiline(
            "description",
            &request.description,
            0..=DESCRIPTION_CHARS_MAX,
        ),
        kind: fields.choice("kind", request.kind),
        area: fields.slug("area", &request.area),
        price: money(&mut fields, "price", request.price.as_ref()),
    };
    fields.check()?;
    Ok(content)
}

pub(super) fn patch(request: &UpdateOfferRequest) -> Result<(OfferId, Patch), Status> {
    let mut fields = FieldErrors::default();
    let id = OfferId(fields.id("offer_id", &request.offer_id));
    let unset = OfferPatch::default();
    let new = request.patch.as_ref().unwrap_or(&unset);
    let mask = request
        .update_mask
        .as_ref()
        .map_or(&[][..], |mask| &mask.paths);
    if mask.is_empty() {
        fields.violation("update_mask", "names no field");
    }
    let mut patch = Patch::default();
    for path in mask {
        match path.as_str() {
            "title" => {
                patch.title = Some(fields.text("patch.title", &new.title, 1..=TITLE_CHARS_MAX))
            }
            "description" => {
                let chars = 0..=DESCRIPTION_CHARS_MAX;
                patch.description =
                    Some(fields.text_multiline("patch.description", &new.description, chars));
            }
            "kind" => patch.kind = Some(fields.choice("patch.kind", new.kind)),
            "area" => patch.area = Some(fields.slug("patch.area", &new.area)),
            "price" => patch.price = Some(money(&mut fields, "patch.price", new.price.as_ref())),
            _ => fields.violation("update_mask", "names a field that cannot be changed"),
        }
    }
    fields.check()?;
    Ok((id, patch))
}

pub(super) fn offer_id(id: &str) -> Result<OfferId, Status> {
    let mut fields = FieldErrors::default();
    let id = OfferId(fields.id("offer_id", id));
    fields.check()?;
    Ok(id)
}

/// Without repeats, in the order of their first mention.
pub(super) fn offer_ids(ids: &[String]) -> Result<Vec<OfferId>, Status> {
    let mut fields = FieldErrors::default();
    if ids.len() > BATCH_MAX {
        fields.violation("ids", format!("has more than {BATCH_MAX} entries"));
    }
    let mut seen = HashSet::new();
    let ids = ids
        .iter()
        .take(BATCH_MAX)
        .map(|id| OfferId(fields.id("ids", id)));
    let ids = ids.filter(|id| seen.insert(*id)).collect();
    fields.check()?;
    Ok(ids)
}

pub(super) fn vote(request: &CastVoteRequest) -> Result<(OfferId, Vote), Status> {
    let mut fields = FieldErrors::default();
    let id = OfferId(fields.id("offer_id", &request.offer_id));
    let value = fields.choice("value", request.value);
    fields.check()?;
    Ok((id, value))
}

pub(super) fn listing(request: &ListOffersRequest, caller: &Caller) -> Result<Listing, Status> {
    let mut fields = FieldErrors::default();
    let filter = request.filter.clone().unwrap_or_default();
    let search = fields.text("search", &request.search, 0..=SEARCH_CHARS_MAX);
    let search = Some(search).filter(|search| !search.is_empty());
    let order = match OfferOrder::try_from(request.order) {
        Ok(OfferOrder::Unspecified) if search.is_some() => Order::Relevance,
        Ok(OfferOrder::Unspecified | OfferOrder::Newest) => Order::Newest,
        Ok(OfferOrder::Price) => Order::Price,
        Ok(OfferOrder::Relevance) => {
            if search.is_none() {
                fields.violation("order", "is by relevance, without a search");
            }
            Order::Relevance
        }
        Err(_) => {
            fields.violation("order", "is not a value of its enum");
            Order::Newest
        }
    };
    if filter.kinds.len() > CHOICES_MAX {
        fields.violation(
            "filter.kinds",
            format!("has more than {CHOICES_MAX} entries"),
        );
    }
    if filter.states.len() > CHOICES_MAX {
        fields.violation(
            "filter.states",
            format!("has more than {CHOICES_MAX} entries"),
        );
    }
    let listing = Listing {
        own: None,
        organisation_id: fields
            .optional_id("filter.organisation_id", &filter.organisation_id)
            .map(OrganisationId),
        area: Some(&filter.area)
            .filter(|area| !area.is_empty())
            .map(|area| fields.slug("filter.area", area)),
        kinds: filter
            .kinds
            .iter()
            .take(CHOICES_MAX)
            .map(|kind| fields.choice("filter.kinds", *kind))
            .collect(),
        states: filter
            .states
            .iter()
            .take(CHOICES_MAX)
            .map(|state| fields.choice("filter.states", *state))
            .collect(),
        price_max: filter
            .price_max
            .as_ref()
            .map(|price| money(&mut fields, "filter.price_max", Some(price))),
        search,
        order,
    };
    fields.check()?;
    if !filter.own {
        return Ok(listing);
    }
    caller.user()?;
    let own = viewer(caller)
        .organisation
        .ok_or(Error::OrganisationRequired)?;
    Ok(Listing {
        own: Some(own),
        ..listing
    })
}

fn money(fields: &mut FieldErrors, field: &str, money: Option<&ProtoMoney>) -> Money {
    match fields.required(field, money) {
        Some(money) => fields.money(field, money.amount_minor, &money.currency_code),
        None => Money::default(),
    }
}
