//! All sections of a site together, as far as they do not need compiled rules and definitions.

use indexmap::IndexMap;

use super::{
    calendar,
    filters::Filters,
    head, notify,
    party::{self, Parties},
    people, receive_port, send_port,
    source::Source,
    values::Environment,
};
use crate::configuration::{
    Alerts, Application, Mail, Party, Person, ReceivePort, Retention, Role, SendPort, SendPortGroup,
    SiteHead, Team, Tracking,
};

/// What the description files say.
pub(super) struct Parts {
    pub(super) site: SiteHead,
    pub(super) applications: IndexMap<String, Application>,
    pub(super) parties: IndexMap<String, Party>,
    pub(super) receive_ports: IndexMap<String, ReceivePort>,
    pub(super) send_ports: IndexMap<String, SendPort>,
    pub(super) send_port_groups: IndexMap<String, SendPortGroup>,
    pub(super) roles: IndexMap<String, Role>,
    pub(super) teams: IndexMap<String, Team>,
    pub(super) people: IndexMap<String, Person>,
    pub(super) mail: Option<Mail>,
    pub(super) alerts: Option<Alerts>,
    pub(super) retention: Retention,
    pub(super) tracking: Tracking,
}

/// Reads every section; mistakes are noted in the source. References are checked when all of them are known.
pub(super) fn read(source: &Source, environment: &Environment, filters: &Filters<'_>) -> Parts {
    source.check_names();
    let site = head::site(source, environment);
    let Parties { all: parties, inbound } = party::read(source);
    let parties = Parties { all: parties, inbound };
    let receive_ports = receive_port::read(source, &parties, &site.name);
    let tracking = head::tracking(source, filters);
    let calendars = calendar::read(source, site.timezone);
    let send_ports = send_port::read(source, filters, &site, &calendars);
    send_port::check_numbers(source, &send_ports, &parties.all);
    Parts {
        applications: head::applications(source, &site),
        receive_ports,
        send_ports,
        send_port_groups: send_port::read_groups(source, filters, &site.name),
        roles: people::roles(source),
        teams: people::teams(source),
        people: people::people(source),
        mail: notify::mail(source),
        alerts: notify::alerts(source),
        retention: head::retention(source, filters),
        tracking,
        parties: parties.all,
        site,
    }
}
