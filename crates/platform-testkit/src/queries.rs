//! The checked queries of a service, held against the schema that its migrations make.

use std::path::Path;

use serde_json::Value;
use sqlx::{AssertSqlSafe, Executor, SqlSafeStr};

use crate::TestDb;

/// Panics unless every query in `<manifest_dir>/.sqlx` still means what is written there:
/// same parameters, same columns, same nullability.
pub async fn assert_match(db: &TestDb, manifest_dir: &str) {
    let folder = Path::new(manifest_dir).join(".sqlx");
    let files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .collect();
    assert!(!files.is_empty(), "{} is empty", folder.display());

    let mut conn = db.connect().await;
    let mut wrong = Vec::new();
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        let stored: Value = serde_json::from_str(&text).unwrap();
        let query = stored["query"].as_str().expect("a stored query has a text");
        let sql = AssertSqlSafe(query.to_owned()).into_sql_str();
        let problem = match (&mut conn).describe(sql).await {
            Err(error) => error.to_string(),
            Ok(now) => {
                let now = serde_json::to_value(now).unwrap();
                if now == stored["describe"] {
                    continue;
                }
                format!("stored {}\n  found  {now}", stored["describe"])
            }
        };
        wrong.push(format!("{}\n  {query}\n  {problem}", path.display()));
    }
    assert!(
        wrong.is_empty(),
        "run `homeward db prepare`; the schema has changed under\n{}",
        wrong.join("\n")
    );
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::json;

    use super::*;

    /// The folder of a service, gone with this value.
    struct Folder(PathBuf);

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    /// Holds a service's one query, as it was stored before `change`, against the database.
    async fn match_after(change: &'static str) {
        let db = crate::db(&[&platform_db::MIGRATOR]).await;
        let mut conn = db.connect().await;
        let query = "SELECT method, response FROM platform.requests WHERE request_id = $1";
        let described = (&mut conn).describe(query.into_sql_str()).await.unwrap();
        let stored = json!({ "query": query, "describe": described });
        let folder = Folder(std::env::temp_dir().join(&db.name));
        std::fs::create_dir_all(folder.0.join(".sqlx")).unwrap();
        std::fs::write(folder.0.join(".sqlx/query-1.json"), stored.to_string()).unwrap();
        sqlx::raw_sql(change).execute(&mut conn).await.unwrap();
        assert_match(&db, folder.0.to_str().unwrap()).await;
    }

    #[tokio::test]
    async fn stored_queries_match_the_schema_they_were_made_for() {
        match_after("").await;
    }

    #[tokio::test]
    #[should_panic(expected = "the schema has changed under")]
    async fn a_column_that_may_be_null_now_is_told() {
        let change = "ALTER TABLE platform.requests ADD more text, DROP CONSTRAINT requests_pkey;
                      ALTER TABLE platform.requests ALTER method DROP NOT NULL";
        match_after(change).await;
    }

    #[tokio::test]
    #[should_panic(expected = ".sqlx")]
    async fn a_service_without_stored_queries_is_told() {
        let db = crate::db(&[&platform_db::MIGRATOR]).await;
        assert_match(&db, "/does/not/exist").await;
    }
}
