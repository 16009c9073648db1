//! Which of many filters take a message, without trying each of them.
//!
//! Each alternative of a filter is a row. Tests of one kind on one property are a *dimension*: looking up the message's
//! values there gives the rows that pass, and the intersection over all dimensions is the answer. So the cost is one
//! look-up and some words of a bit set for each dimension, whatever tests the filters are made of.

use std::collections::HashMap;

use super::bits::Bits;
use super::dimension::{Dimension, Kind, Place};
use super::{Condition, Filter, Test, is_acknowledgment, is_fault};
use crate::promote::Properties;

/// Filters, indexed. Immutable.
///
/// With 10,000 filters a dimension costs about a tenth of a microsecond; a value whose type is not that of the constants
/// it is compared with costs a look at each different test of the dimension.
#[derive(Debug, Default)]
pub struct FilterIndex {
    /// The filter that each row is an alternative of.
    filter_of: Vec<usize>,
    dimensions: Vec<Dimension>,
    /// Rows that take no acknowledgment, and rows that take no fault.
    without_acks: Option<Bits>,
    without_faults: Option<Bits>,
}

impl FilterIndex {
    /// Indexes filters; they are known by their number in this order.
    pub fn new<'a>(filters: impl IntoIterator<Item = &'a Filter>) -> Self {
        let mut rows: Vec<(usize, &Filter, Option<&Vec<Condition>>)> = Vec::new();
        for (number, filter) in filters.into_iter().enumerate() {
            if filter.any.is_empty() {
                rows.push((number, filter, None));
            }
            rows.extend(filter.any.iter().map(|alternative| (number, filter, Some(alternative))));
        }
        let count = rows.len();
        let mut places: HashMap<Place, Vec<(&Test, u32)>> = HashMap::new();
        for (row, (_, filter, alternative)) in (0_u32..).zip(&rows) {
            let mut turns: HashMap<(&str, Kind), usize> = HashMap::new();
            for condition in filter.all.iter().chain(alternative.iter().copied().flatten()) {
                let kind = Kind::of(&condition.test);
                let turn = turns.entry((&condition.property, kind)).or_default();
                let place = Place { property: condition.property.clone(), kind, turn: *turn };
                *turn += 1;
                places.entry(place).or_default().push((&condition.test, row));
            }
        }
        let dimensions = places.into_iter().map(|(place, tests)| Dimension::new(place, tests, count));
        let lacking = |takes: fn(&Filter) -> bool| {
            let mut bits = Bits::all(count);
            let taking = (0_u32..).zip(&rows).filter(|(_, (_, filter, _))| takes(filter));
            taking.for_each(|(row, _)| bits.remove(row));
            Some(bits)
        };
        Self {
            dimensions: dimensions.collect(),
            without_acks: lacking(|filter| filter.takes_acks),
            without_faults: lacking(|filter| filter.takes_faults),
            filter_of: rows.iter().map(|(number, ..)| *number).collect(),
        }
    }

    /// The numbers of the filters that take a message with these properties, ascending.
    pub fn matching(&self, properties: &Properties) -> Vec<usize> {
        let count = self.filter_of.len();
        let (mut rows, mut passed) = (Bits::all(count), Bits::none(count));
        for (is_one, without) in [
            (is_acknowledgment(properties), &self.without_acks),
            (is_fault(properties), &self.without_faults),
        ] {
            if let (true, Some(without)) = (is_one, without) {
                rows.remove_all(without);
            }
        }
        for dimension in &self.dimensions {
            dimension.narrow(&mut rows, properties, &mut passed);
        }
        // Alternatives of one filter stand side by side.
        let mut filters: Vec<usize> = rows.iter().map(|row| self.filter_of[row]).collect();
        filters.dedup();
        filters
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, NaiveDate};
    use proptest::prelude::*;

    use super::*;
    use crate::value::Value;

    const PROPERTIES: [&str; 7] =
        ["hl7.type", "hl7.event", "patient.id", "hl7.findings", "born", "ack.code", "fault.code"];

    fn value() -> impl Strategy<Value = Value> {
        let time = |text: &str| Value::DateTime(DateTime::parse_from_rfc3339(text).expect("a time"));
        let day = |day| Value::Date(NaiveDate::from_ymd_opt(2026, 3, day).expect("a day"));
        prop_oneof![
            6 => "(ACK|ADT|ORU|A|A0|A01|A08|AÄ|AÖ|7|07|12|120)".prop_map(Value::Text),
            3 => (0_i64..20).prop_map(Value::Int),
            1 => Just(Value::Decimal("7.50".parse().expect("a number"))),
            1 => any::<bool>().prop_map(Value::Bool),
            2 => (1_u32..5).prop_map(day),
            1 => Just(time("2026-03-02T23:30:00+02:00")),
            1 => Just(time("2026-03-03T08:00:00Z")),
            1 => Just(Value::List(Vec::new())),
        ]
    }

    fn test() -> impl Strategy<Value = Test> {
        prop_oneof![
            3 => prop::collection::vec(value(), 0..3).prop_map(Test::OneOf),
            2 => prop::collection::vec(value(), 0..3).prop_map(Test::Not),
            2 => "(A|A0|A01|AÄ|O|1|12|)".prop_map(Test::Prefix),
            2 => value().prop_map(Test::Above),
            2 => value().prop_map(Test::Below),
            1 => any::<bool>().prop_map(Test::Present),
        ]
    }

    fn conditions() -> impl Strategy<Value = Vec<Condition>> {
        let condition = (prop::sample::select(&PROPERTIES[..]), test())
            .prop_map(|(property, test)| Condition { property: property.to_owned(), test });
        prop::collection::vec(condition, 0..4)
    }

    fn filter() -> impl Strategy<Value = Filter> {
        (conditions(), prop::collection::vec(conditions(), 0..3)).prop_map(|(all, any)| Filter::of(all, any))
    }

    fn message() -> impl Strategy<Value = Properties> {
        let property = (prop::sample::select(&PROPERTIES[..]), value());
        prop::collection::vec(property, 0..9).prop_map(|pairs| {
            let mut properties = Properties::new();
            pairs.into_iter().for_each(|(name, value)| properties.add(name, value));
            properties
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn the_index_finds_what_trying_each_filter_finds(
            filters in prop::collection::vec(filter(), 0..70),
            messages in prop::collection::vec(message(), 8),
        ) {
            let index = FilterIndex::new(&filters);
            for message in messages {
                let tried = filters.iter().enumerate().filter(|(_, filter)| filter.matches(&message));
                let tried: Vec<usize> = tried.map(|(number, _)| number).collect();
                prop_assert_eq!(index.matching(&message), tried, "{:?}", message);
            }
        }

        #[test]
        fn long_ranges_are_summed_right(limits in prop::collection::vec(0_i64..2_000, 600..1_400), value in 0_i64..2_000) {
            let filters: Vec<Filter> = limits.iter().enumerate().map(|(number, limit)| {
                let test = if number % 2 == 0 { Test::Above } else { Test::Below };
                let mut filter = Filter::everything();
                filter.and("hl7.findings", test(Value::Int(*limit)));
                filter
            }).collect();
            let mut message = Properties::new();
            message.set("hl7.findings", value);
            let tried: Vec<usize> =
                (0..filters.len()).filter(|number| filters[*number].matches(&message)).collect();
            prop_assert_eq!(FilterIndex::new(&filters).matching(&message), tried);
        }
    }
}
