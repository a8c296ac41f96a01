use std::{cell::RefCell, io::Cursor};

use platform_testkit::TestDb;
use serde_json::json;
use tokio::task::JoinSet;

use super::{throttle::checks, *};
use crate::import::{self, Done};

fn bcrypt(version: &str) -> String {
    let hash = bcrypt::hash(PASSWORD, 4).unwrap();
    format!("${version}{}", &hash[3..])
}

fn line(email: &str) -> String {
    json!({
        "email": email,
        "display_name": "Ada Lovelace",
        "kind": "mover",
        "password_hash": bcrypt("2b"),
    })
    .to_string()
}

/// What became of the lines, and what was said of them.
async fn run(db: &TestDb, file: &[u8]) -> (Done, Vec<(u64, String)>) {
    let said: RefCell<Vec<(u64, String)>> = RefCell::default();
    let report = |line: u64, problem: &str| said.borrow_mut().push((line, problem.to_owned()));
    let done = import::run(&mut db.connect().await, Cursor::new(file), report).await;
    (done.unwrap(), said.into_inner())
}

async fn hash(world: &World, email: &str) -> String {
    sqlx::query_scalar(
        "SELECT hash FROM passwords JOIN users ON users.id = user_id WHERE email = $1",
    )
    .bind(email)
    .fetch_one(&mut world.connect().await)
    .await
    .unwrap()
}

fn login(email: &str, password: &str) -> LoginRequest {
    LoginRequest {
        email: email.to_owned(),
        password: password.to_owned(),
        organisation_id: String::new(),
    }
}

#[tokio::test]
async fn an_imported_hash_is_replaced_at_the_first_login() {
    let world = World::start().await;
    for version in ["2a", "2b", "2y"] {
        let email = email();
        let line = json!({
            "email": email,
            "display_name": "Ada Lovelace",
            "kind": "business",
            "password_hash": bcrypt(version),
            "created_at": "2019-05-04T12:00:00Z",
        });
        let (done, said) = run(&world.db, line.to_string().as_bytes()).await;
        assert_eq!((done.imported, said), (1, Vec::new()));
        let wrong = world.client().login(login(&email, "wrong")).await;
        assert_refused(wrong, ErrorReason::CredentialsInvalid);
        assert!(hash(&world, &email).await.starts_with("$2"));

        let opened = world.client().login(login(&email, PASSWORD)).await;
        let user = opened.unwrap().into_inner().user.unwrap();
        assert_eq!(user.roles, ["user-business"]);
        assert_eq!(user.create_time.unwrap().seconds, 1_556_971_200);
        assert_eq!(
            world.versions(&user.id).await,
            (2, 1),
            "no rights were lessened"
        );
        assert!(
            hash(&world, &email)
                .await
                .starts_with("$argon2id$v=19$m=64,t=1,p=1$")
        );
        let by_bcrypt = format!("scheme=\"{version}$04\"");
        assert_eq!(checks(&world, &[&by_bcrypt]).await, 2);
        world.client().login(login(&email, PASSWORD)).await.unwrap();
        assert_eq!(checks(&world, &[&by_bcrypt]).await, 2);
        let wrong = world.client().login(login(&email, "wrong")).await;
        assert_refused(wrong, ErrorReason::CredentialsInvalid);
    }
}

#[tokio::test]
async fn first_logins_that_come_at_once_all_succeed() {
    let world = World::start().await;
    let email = email();
    run(&world.db, line(&email).as_bytes()).await;
    let mut logins = JoinSet::new();
    for _ in 0..8 {
        let (mut client, request) = (world.client(), login(&email, PASSWORD));
        logins.spawn(async move { client.login(request).await });
    }
    for answer in logins.join_all().await {
        answer.unwrap();
    }
    world.client().login(login(&email, PASSWORD)).await.unwrap();
}

#[tokio::test]
async fn the_same_file_again_changes_nothing() {
    let db = platform_testkit::db(MIGRATORS).await;
    let (one, other) = (email(), email());
    // The last names the first account again, in another case.
    let file = [line(&one), line(&other), line(&one.to_uppercase())].join("\n");
    let everything = async || -> Vec<String> {
        let rows = sqlx::query_scalar(
            "SELECT users::text FROM users
            UNION ALL SELECT passwords::text FROM passwords
            UNION ALL SELECT type || key || version FROM platform.outbox
            ORDER BY 1",
        );
        rows.fetch_all(&mut db.connect().await).await.unwrap()
    };
    let (done, said) = run(&db, file.as_bytes()).await;
    assert_eq!(done.to_string(), "2 imported, 1 there already, 0 refused");
    assert_eq!(said, []);
    let first = everything().await;
    assert_eq!(first.len(), 6);
    let registered = first
        .iter()
        .filter(|row| row.starts_with("user.registered"));
    assert_eq!(registered.count(), 2);

    let (done, _) = run(&db, file.as_bytes()).await;
    assert_eq!(done.to_string(), "0 imported, 3 there already, 0 refused");
    assert_eq!(everything().await, first);
}

#[tokio::test]
async fn a_line_that_cannot_be_imported_is_named_by_its_number_and_ends_nothing() {
    let db = platform_testkit::db(MIGRATORS).await;
    let with = |field: &str, value: serde_json::Value| {
        let mut line: serde_json::Value = serde_json::from_str(&line("ada@example.org")).unwrap();
        line[field] = value;
        line.to_string().into_bytes()
    };
    let costly = bcrypt("2b").replace("$04$", "$15$");
    let bad = [
        b"nonsense".to_vec(),
        b"\xff\xfe".to_vec(),
        b"{}".to_vec(),
        with("email", json!("nobody")),
        with("display_name", json!("")),
        with("kind", json!("operator")),
        with("password_hash", json!("correct horse")),
        with("password_hash", json!(costly)),
        with("password_hash", json!(bcrypt("2x"))),
        with("created_at", json!("2999-01-01T00:00:00Z")),
        with("roles", json!(["operator"])),
        with("display_name", json!("x".repeat(5000))),
        vec![b'x'; 1 << 20],
    ];
    let mut file = Vec::new();
    for line in &bad {
        file.extend_from_slice(line);
        file.extend_from_slice(b"\r\n");
    }
    file.extend_from_slice(b"\n");
    file.extend_from_slice(line("ada@example.org").as_bytes());
    let (done, said) = run(&db, &file).await;
    assert_eq!(done.to_string(), "1 imported, 0 there already, 13 refused");
    let numbers: Vec<_> = said.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, Vec::from_iter(1..=13));
    for (number, problem) in &said {
        for personal in ["ada", "nobody", "horse", "$2"] {
            assert!(!problem.contains(personal), "line {number}: {problem}");
        }
    }
    assert_eq!(said[7].1, "password_hash has a cost that is not 4 to 14");
    assert_eq!(said[12].1, "is longer than 4096 bytes");
}

#[tokio::test]
async fn the_command_fails_when_a_line_was_not_imported() {
    let db = platform_testkit::db(MIGRATORS).await;
    let mut vars = settings();
    vars.extend(db.vars());
    vars.insert("SEAL_KEY".to_owned(), platform_testkit::secret());
    vars.insert("ISSUER_URL".to_owned(), "http://127.0.0.1:1".to_owned());
    let path = std::env::temp_dir().join(format!("{}.jsonl", db.name));
    let run = async |text: &str| {
        std::fs::write(&path, text).unwrap();
        let config = platform::config::parse("identity", &vars).unwrap();
        let file = path.clone();
        let ran = crate::import(config, crate::ImportArgs { file }).await;
        std::fs::remove_file(&path).unwrap();
        ran
    };
    run(&line(&email())).await.unwrap();
    let failed = run(&format!("{}\n{{}}", line(&email()))).await.unwrap_err();
    assert_eq!(failed.to_string(), "not every line was imported");
}
