//! Storing a message is one commit with what it settles, and survives transactions that were in its way.

use crate::town::{Neighbour, Town, adt};

const SITE: &str = "
receive_ports:
  in:
    locations:
      mllp:
        adapter: { mllp: { socket: { listen: 127.0.0.1:0 } } }
send_ports:
  out:
    target: { mllp: { socket: { connect: $his } } }
    filter: { hl7.type: ADT }
";

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_and_the_end_of_its_wait_are_one_commit() {
    let his = Neighbour::accepting().await;
    let town = Town::start(SITE, &[("his", &his)]).await;
    town.caller("in/mllp").await.send(&adt("9", "Doe^Jane")).await;
    his.next().await;
    town.until("SELECT count(*) FROM tracking WHERE kind = 6", 1).await;
    // An open wait of an instance, as a turn leaves it.
    town.run(
        "INSERT INTO expectation (message_id, instance, send, lane, control_id, send_port, kind, opened_at)
         SELECT m.id, 77, 1, (SELECT min(id) FROM lane), 'X1', (SELECT min(id) FROM subscriber), 'application', now()
           FROM message m WHERE control_id = '9';
         CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
         CREATE TRIGGER stop BEFORE DELETE ON expectation FOR EACH ROW EXECUTE FUNCTION stop()",
    )
    .await;
    let answer = "MSH|^~\\&|R|R|||20260301||ACK|A1|P|2.5.1\rMSA|AA|X1\r";
    let mut caller = town.caller("in/mllp").await;
    caller.write(answer).await;
    assert_eq!(caller.send(&adt("10", "Doe^Jane")).await, "AA 10");
    assert_eq!(town.count("SELECT count(*) FROM message WHERE control_id = 'A1'").await, 0, "not half of it");
    assert_eq!(town.count("SELECT count(*) FROM work WHERE kind = 4").await, 0);
    town.run("DROP TRIGGER stop ON expectation").await;
    caller.write(answer).await;
    town.until("SELECT count(*) FROM work WHERE kind = 4", 1).await;
    assert_eq!(town.count("SELECT count(*) FROM expectation").await, 0);
    assert_eq!(town.count("SELECT count(*) FROM tracking WHERE kind = 9").await, 1);
    // The same wait cannot be ended twice.
    caller.write(&answer.replace("A1", "A2")).await;
    town.until("SELECT count(*) FROM tracking WHERE kind = 18", 1).await;
    assert_eq!(town.count("SELECT count(*) FROM work WHERE kind = 4").await, 1);
    town.engine.abandon();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadlock_is_tried_again_and_the_sender_reads_aa() {
    let his = Neighbour::accepting().await;
    let town = Town::start(SITE, &[("his", &his)]).await;
    // The first two commits of a message fail as a deadlock and a serialisation failure do; the sequence survives rollbacks.
    town.run(
        "CREATE SEQUENCE attempts;
         GRANT USAGE ON SEQUENCE attempts TO orderly_engine;
         CREATE FUNCTION clash() RETURNS trigger LANGUAGE plpgsql AS $$
         DECLARE v_number bigint := nextval('attempts');
         BEGIN
             IF v_number = 1 THEN RAISE EXCEPTION 'deadlock detected' USING ERRCODE = '40P01'; END IF;
             IF v_number = 2 THEN RAISE EXCEPTION 'could not serialize' USING ERRCODE = '40001'; END IF;
             RETURN NEW;
         END $$;
         CREATE TRIGGER clash BEFORE INSERT ON duplicate FOR EACH ROW EXECUTE FUNCTION clash()",
    )
    .await;
    assert_eq!(town.caller("in/mllp").await.send(&adt("1", "Doe^Jane")).await, "AA 1");
    assert_eq!(his.next_text().await, adt("1", "Doe^Jane"));
    town.stop().await;
}
