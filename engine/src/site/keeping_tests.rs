//! What is kept for how long, and what it can be searched by.

use super::tests::{HEAD, check, shown};
use super::values::Environment;

#[test]
fn retention_classes_have_filters_but_the_default_and_one_time_for_tracking() {
    check(
        "parties:
  psychiatry: { title: Psychiatry, retention: shrot }
retention:
  default: clinical
  classes:
    clinical: { bodies: 1y, tracking: 10y, filter: { hl7.type: ORU } }
    short: { bodies: 30d, tracking: 1y }
",
        "
site.yaml:7:47: error S101: there is no retention class `shrot`
  |
7 |   psychiatry: { title: Psychiatry, retention: shrot }
  |                                               ^^^^^
  = did you mean `short`?
site.yaml:11:52: error S001: the default class takes what no other class takes, so it has no `filter`
   |
11 |     clinical: { bodies: 1y, tracking: 10y, filter: { hl7.type: ORU } }
   |                                                    ^
site.yaml:12:37: warning S001: tracking is kept as long as the longest class says, so not shorter for this one: a block of the record holds entries of all classes
   |
12 |     short: { bodies: 30d, tracking: 1y }
   |                                     ^^",
    );
}

#[test]
fn what_can_be_searched_are_promoted_properties_each_once_and_not_too_many() {
    check(
        "tracking:
  index: [order.placer, order.plcer, order.placer, fault.code]
",
        "
site.yaml:7:25: error S302: `order.plcer` is not a promoted property
  |
7 |   index: [order.placer, order.plcer, order.placer, fault.code]
  |                         ^^^^^^^^^^^
  = did you mean `order.placer`?
site.yaml:7:38: error S001: `order.placer` is there twice
  |
7 |   index: [order.placer, order.plcer, order.placer, fault.code]
  |                                      ^^^^^^^^^^^^
site.yaml:7:52: error S001: `fault.code` belongs to the report of a failure, not to a message
  |
7 |   index: [order.placer, order.plcer, order.placer, fault.code]
  |                                                    ^^^^^^^^^^",
    );
    let many = "hl7.type, hl7.event, hl7.structure, hl7.version, hl7.control_id, hl7.sending_app, hl7.sending_facility, \
                hl7.receiving_app, hl7.receiving_facility, hl7.processing_id, patient.id, patient.authority, \
                patient.prior_id, visit.number, order.placer, order.placer_authority";
    let site = |index: &str| {
        let text = format!("{HEAD}tracking:\n  index: [{index}]\n");
        shown(&[("site.yaml", &text)], &Environment::local())
    };
    assert!(!site(many).contains("error"), "{}", site(many));
    assert!(site(&format!("{many}, order.filler")).contains("`index` holds at most 16 properties"));
}
