use std::sync::Arc;

use super::{publish::*, *};
use crate::{
    configuration::{Files, SendAdapter},
    people::{Passwords, Strength},
    store::{Store, testing::fresh_store},
};

const SITE: &str = "# A remark that must survive.
site:
  format: 1
  name: northgate
  title: Northgate
  timezone: UTC
values:
  lab: { default: 127.0.0.1:2602 }
roles:
  desk: { title: Desk, like: operator }
people:
  m.okafor: { title: Miriam Okafor, email: m@northgate.example, roles: [desk], ids: [1021], sample_password: demo }
send_ports:
  laboratory:
    target: { mllp: { socket: { connect: $lab } } }
    filter: { hl7.type: ADT }
    retry: { for: 24h }
";

fn folder(text: &str) -> Files {
    let odd = "values:\n  lab: 10.0.0.1:1   # spaces  and\ttabs\n".replace('\t', "  ");
    let overlay = format!("environment: test\nclass: test\n{odd}");
    [("site.yaml", text), ("site.test.yaml", overlay.as_str()), ("samples/a.hl7", "MSH|^~\\&|A\rPID|1\r")]
        .into_iter()
        .map(|(path, text)| (path.to_owned(), Arc::from(text.as_bytes())))
        .collect()
}

const BY: By<'_> = By { person: "r.meyer", reason: "" };

async fn deployed(store: &Store, text: &str) -> Result<Deployment, Error> {
    deploy(store, &folder(text), &Environment::local(), BY).await
}

#[tokio::test]
async fn the_same_bytes_again_make_no_version() {
    let store = fresh_store().await;
    assert!(matches!(deployed(&store, SITE).await.unwrap(), Deployment::Applied { version: 1, .. }));
    assert!(matches!(deployed(&store, SITE).await.unwrap(), Deployment::NothingToDo { version: 1 }));
    let remark = SITE.replace("must survive", "survives");
    let Deployment::Applied { version: 2, plan, .. } = deployed(&store, &remark).await.unwrap() else {
        panic!()
    };
    assert!(plan.changes.is_empty(), "a comment has no effect: {plan}");
    assert_eq!(plan.texts, ["site.yaml"]);
}

#[tokio::test]
async fn export_gives_the_same_bytes() {
    let store = fresh_store().await;
    deployed(&store, SITE).await.unwrap();
    let target = tempfile::tempdir().unwrap();
    let exported = export(&store, target.path(), false).await.unwrap();
    assert_eq!(exported.written.len(), 3);
    assert_eq!(read_folder(target.path()).unwrap(), folder(SITE));
    assert_eq!(export(&store, target.path(), false).await.unwrap().unchanged, 3);
    std::fs::write(target.path().join("samples/old.hl7"), "MSH").unwrap();
    let exported = export(&store, target.path(), true).await.unwrap();
    assert_eq!(exported.left_over, ["samples/old.hl7"]);
    assert_eq!(read_folder(target.path()).unwrap(), folder(SITE));
}

#[tokio::test]
async fn a_plan_names_what_changes_and_a_renamed_object_is_another_one() {
    let store = fresh_store().await;
    deployed(&store, SITE).await.unwrap();
    let text = SITE
        .replace("for: 24h", "for: 8h")
        .replace("2602", "2603")
        .replace("desk:", "bench:")
        .replace("[desk]", "[bench]");
    let plan = plan_deployment(&store, &folder(&text), &Environment::local()).await.unwrap();
    let lines: Vec<String> = plan
        .changes
        .iter()
        .map(|change| {
            format!("{:?} {} {} {} {}", change.how, change.kind, change.name, change.detail, change.place)
        })
        .collect();
    assert_eq!(
        lines,
        [
            "Changed value lab default 127.0.0.1:2602 -> 127.0.0.1:2603 site.yaml:8",
            "Changed send port laboratory retry.for 24h -> 8h site.yaml:14",
            "Added role bench  site.yaml:10",
            "Removed role desk  ",
            "Changed person m.okafor - role desk, + role bench site.yaml:12",
        ]
    );
    assert!(plan.to_string().starts_with("Site northgate, local.  Running: version 1 ("), "{plan}");
    assert_eq!(running(&store).await.unwrap().unwrap().version, 1, "a plan changes nothing");
}

#[tokio::test]
async fn mistakes_leave_everything_as_it_is() {
    let store = fresh_store().await;
    deployed(&store, SITE).await.unwrap();
    let Err(Error::Mistakes(found)) = deployed(&store, &SITE.replace("24h", "24")).await else { panic!() };
    assert_eq!(found.len(), 1);
    assert_eq!(running(&store).await.unwrap().unwrap().version, 1);
}

#[tokio::test]
async fn a_removed_port_that_work_waits_for_is_refused() {
    let store = fresh_store().await;
    deployed(&store, SITE).await.unwrap();
    for statement in [
        "INSERT INTO subscriber (id, kind, name) VALUES (7, 'send_port', 'laboratory')",
        "INSERT INTO parked (id, subscriber, kind, subject, key, state, first_at, code) VALUES (1, 7, 1, 5, 5, 2, now(), 'x')",
    ] {
        sqlx::query(statement).execute(store.pool()).await.unwrap();
    }
    let text = SITE.replace("  laboratory:", "  labor:");
    let Err(Error::InUse(reasons)) = deployed(&store, &text).await else { panic!() };
    assert_eq!(
        reasons,
        ["send port `laboratory` cannot go: 0 instances, 0 waiting and 1 parked messages need it"]
    );
}

#[tokio::test]
async fn a_node_follows_and_keeps_the_versions_of_its_instances() {
    let store = fresh_store().await;
    deployed(&store, SITE).await.unwrap();
    let node = ConfigurationStore::open(store.clone()).await.unwrap();
    assert!(!node.refresh().await.unwrap());
    deployed(&store, &SITE.replace("2602", "2603")).await.unwrap();
    assert!(node.refresh().await.unwrap());
    let address = |configuration: &crate::configuration::Configuration| {
        let SendAdapter::Mllp(mllp) = &configuration.send_ports["laboratory"].target else { panic!("MLLP") };
        mllp.connect.to_string()
    };
    assert_eq!(address(&node.current()), "127.0.0.1:2603");
    assert_eq!(*node.changes().borrow(), 2);
    let fresh = ConfigurationStore::open(store.clone()).await.unwrap();
    assert_eq!(address(&fresh.at(1).await.unwrap()), "127.0.0.1:2602");
    assert!(matches!(fresh.at(9).await, Err(Error::NoSuchVersion(9))));
}

#[tokio::test]
async fn what_the_console_published_stops_a_folder_that_lacks_it() {
    let store = fresh_store().await;
    deployed(&store, SITE).await.unwrap();
    let changed = SITE.replace("24h", "12h");
    assert_eq!(publish_file(&store, "site.yaml", changed.as_bytes(), BY).await.unwrap(), 2);
    assert_eq!(
        publish_file(&store, "site.yaml", changed.as_bytes(), BY).await.unwrap(),
        2,
        "nothing differs"
    );
    let Err(Error::ChangedInConsole { path, by, .. }) = deployed(&store, SITE).await else { panic!() };
    assert_eq!((path.as_str(), by.as_str()), ("site.yaml", "r.meyer"));
    let with_it = changed.replace("2602", "2604");
    assert_eq!(deployed(&store, &with_it).await.unwrap().version(), 3);
}

#[tokio::test]
async fn what_the_console_published_can_be_discarded_by_name() {
    let store = fresh_store().await;
    deployed(&store, SITE).await.unwrap();
    publish_file(&store, "site.yaml", SITE.replace("24h", "12h").as_bytes(), BY).await.unwrap();
    let discard = ["site.yaml".to_owned()];
    let deployment =
        deploy_discarding(&store, &folder(SITE), &Environment::local(), BY, &discard).await.unwrap();
    assert_eq!(deployment.version(), 3);
}

#[tokio::test]
async fn an_edit_that_began_from_an_older_version_is_refused() {
    let store = fresh_store().await;
    deployed(&store, SITE).await.unwrap();
    deployed(&store, &SITE.replace("24h", "8h")).await.unwrap();
    let change = FileChange { path: "samples/a.hl7".into(), content: None };
    let refused = publish_files(&store, std::slice::from_ref(&change), Some(1), BY).await;
    assert!(matches!(refused, Err(Error::Overtaken { running: 2 })));
    assert_eq!(publish_files(&store, &[change], Some(2), BY).await.unwrap(), 3);
}

#[tokio::test]
async fn going_back_makes_a_new_version_with_the_old_bytes() {
    let store = fresh_store().await;
    deployed(&store, SITE).await.unwrap();
    deployed(&store, &SITE.replace("24h", "8h")).await.unwrap();
    assert_eq!(back_to(&store, 1, BY).await.unwrap(), 3);
    assert_eq!(without_library(&files_of(&store, 3).await.unwrap()), folder(SITE));
    let version = running(&store).await.unwrap().unwrap();
    assert_eq!(version.origin, "back");
    assert_eq!(roll_back_file(&store, "site.yaml", 2, BY).await.unwrap(), 4);
}

#[tokio::test]
async fn people_of_the_site_are_added_once_and_never_changed() {
    let store = fresh_store().await;
    deployed(&store, SITE).await.unwrap();
    let passwords = Passwords::new(Strength::Test).unwrap();
    let node = ConfigurationStore::open(store.clone()).await.unwrap();
    assert_eq!(enrol_people(&store, &node.current(), &passwords).await.unwrap(), 1);
    sqlx::query("UPDATE person SET title = 'Somebody'").execute(store.pool()).await.unwrap();
    assert_eq!(enrol_people(&store, &node.current(), &passwords).await.unwrap(), 0);
    let title: String = sqlx::query_scalar("SELECT title FROM person").fetch_one(store.pool()).await.unwrap();
    assert_eq!(title, "Somebody");
}
