//! What a deployment touches of running work: versions of rules, instances that stay, ports that work waits for.

use std::collections::BTreeMap;

use super::{
    artifacts::artifacts,
    deploy::{Error, Version, compiled, files_of, running},
    layers::with_library,
    plan::{How, Plan, Running, plan},
    values::Environment,
};
use crate::{
    configuration::{Configuration, Files},
    store::Store,
};

/// The plan of a deployment, with what the database knows of running work.
///
/// # Errors
///
/// Mistakes in the files; those of the database.
pub async fn plan_deployment(store: &Store, site: &Files, environment: &Environment) -> Result<Plan, Error> {
    let before = running(store).await?;
    let next = before.as_ref().map_or(1, |before| before.version + 1);
    let new = compiled(with_library(site), environment.clone(), next).await?;
    plan_with(store, before.as_ref(), &new, environment).await
}

/// The plan from a version to a configuration.
pub(super) async fn plan_with(
    store: &Store,
    before: Option<&Version>,
    new: &Configuration,
    environment: &Environment,
) -> Result<Plan, Error> {
    let old = match before {
        Some(before) => {
            let files = files_of(store, before.version).await?;
            let environment = Environment { name: before.environment.clone(), ..environment.clone() };
            // A version that this program cannot compile any more is compared as if it held nothing.
            compiled(files, environment, before.version).await.ok()
        }
        None => None,
    };
    let mut plan = plan(old.as_ref(), new);
    plan.next = new.version;
    plan.running = before.map(|before| Running {
        version: before.version,
        at: before.created_at.with_timezone(&new.site.timezone).format("%Y-%m-%d %H:%M").to_string(),
        by: before.created_by.clone(),
    });
    number_artifacts(store, &mut plan, new).await?;
    note_work(store, &mut plan).await?;
    Ok(plan)
}

async fn number_artifacts(store: &Store, plan: &mut Plan, new: &Configuration) -> Result<(), Error> {
    let numbers = latest_artifacts(store).await?;
    for artifact in artifacts(new) {
        let Some((number, hash)) = numbers.get(&(artifact.kind.to_owned(), artifact.name.clone())) else {
            continue;
        };
        if *hash != artifact.hash {
            plan.explain(artifact.word(), &artifact.name, &format!("{number} -> {}", number + 1));
        }
    }
    Ok(())
}

async fn latest_artifacts(store: &Store) -> Result<BTreeMap<(String, String), (i32, Vec<u8>)>, Error> {
    let rows = sqlx::query!(
        "SELECT DISTINCT ON (kind, name) kind, name, number, hash
         FROM artifact_version
         ORDER BY kind, name, number DESC"
    )
    .fetch_all(store.pool())
    .await?;
    Ok(rows.into_iter().map(|row| ((row.kind, row.name), (row.number, row.hash))).collect())
}

/// What the changes mean for running work: instances that stay on their version, work that would lose its port.
async fn note_work(store: &Store, plan: &mut Plan) -> Result<(), Error> {
    let rows = sqlx::query!(
        r#"SELECT s.kind, s.name,
                  (SELECT count(*) FROM instance i WHERE i.orchestration = s.id) AS "instances!",
                  (SELECT count(*) FROM parked p WHERE p.subscriber = s.id OR p.lane IN (SELECT id FROM lane WHERE subscriber = s.id)) AS "parked!",
                  (SELECT coalesce(sum(greatest(0, t.tail - t.done)), 0)::bigint
                     FROM (SELECT l.base,
                                  coalesce((SELECT max(w.sequence) FROM work w WHERE w.lane = l.id), l.base) AS tail,
                                  coalesce((SELECT max(p.to_sequence) FROM progress p WHERE p.lane = l.id), l.base) AS done
                             FROM lane l
                            WHERE l.subscriber = s.id) t) AS "waiting!"
           FROM subscriber s"#
    )
    .fetch_all(store.pool())
    .await?;
    for row in rows {
        let orchestration = row.kind == "orchestration";
        let kind = if orchestration { "orchestration" } else { "send port" };
        let held = row.instances + row.parked + row.waiting;
        let Some(how) = plan.changes.iter().find(|change| change.kind == kind && change.name == row.name)
        else {
            continue;
        };
        match how.how {
            How::Removed if held > 0 => plan.refusals.push(format!(
                "{kind} `{}` cannot go: {} instances, {} waiting and {} parked messages need it",
                row.name, row.instances, row.waiting, row.parked
            )),
            How::Changed if orchestration && row.instances > 0 => {
                let text = format!("{} instances stay on the version they started with", row.instances);
                plan.explain(kind, &row.name, &text);
            }
            How::Changed if row.waiting + row.parked > 0 => {
                let count = row.waiting + row.parked;
                plan.notes.push(format!("Waiting work that this touches: {} {count} messages.", row.name));
            }
            _ => {}
        }
    }
    Ok(())
}
