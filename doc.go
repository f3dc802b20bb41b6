// Package picket holds the words that the rest of picket is about: Event,
// Batch, Match, Alert, and the kinds of error. This comment is the tour of the
// code; ten minutes should do.
//
// # The flow
//
//	  endpoint                                   server
//	┌─────────┐  POST batch  ┌────────┐  Enqueue ┌───────┐ Receive ┌────────┐  Save  ┌───────┐
//	│  agent  │─────────────▶│ ingest │─────────▶│ queue │────────▶│ worker │───────▶│ store │
//	└─────────┘   201 only   └────────┘ durable  └───────┘   Ack    └────────┘ events └───────┘
//	 own spool    after that                                 after   ▲  │      alerts     │
//	                                                         Save    │  ▼                 ▼
//	                                                      detect (sigma)           api, web
//
// An agent posts a Batch. Package ingest checks each event, puts the batch on
// the queue, and only then answers. A worker receives it, asks package detect
// which rules fire, saves events, matches and alerts in one step, and only then
// acks. People read the store through the console (web) and the API (api).
//
// Four promises hold it together:
//
//   - Success is answered after Enqueue returned nil: the batch then survives
//     kill -9 and a power cut.
//   - A batch is acked after all of it was saved.
//   - Saving is idempotent: an event is its ID, a match is MatchID, a batch is
//     its ID. Delivering twice, or sending twice, changes nothing.
//   - What was accepted is stored, or is a dead letter with its cause.
//
// # The packages, bottom up
//
// An import only goes up in this list, and a test says so (importtest).
//
//	sigma/casefold              Unicode case folding
//	sigma/ast                   the types of parsed Sigma rules
//	sigma/correlation           correlates matches of rules over time
//	sigma                       parses, compiles and matches Sigma rules; public, and imports nothing of picket
//	sigma/pipeline              adapts rules to other field names
//	sigma/lint                  finds likely mistakes in rules
//	celery                      reads and writes Celery's protocol; public, and knows nothing of picket
//	rules                       picket's own rules, embedded, with a case for each
//	internal/zst                zstd, with encoders shared by the process
//	internal/evtx               reads Windows event logs as JSON
//	internal/backoff            delays between retries
//	internal/groupcommit        many callers, one commit
//	.                           Event, Batch and its encoding, Match, Alert, error kinds
//
//	internal/flatjson           one JSON object to flat leaves, without garbage
//	internal/normalize              detects formats of events and maps them to Sigma's terms
//	internal/legacy/ruleconvert rules of the legacy system to Sigma
//	internal/redisurl           where a Redis is, and how it is set
//	internal/queue              the seam between intake and workers
//	internal/store              the seam behind workers and console; the query language
//	internal/auth               tokens, users, sessions
//	internal/cache              statistics for the console, kept for a moment
//	internal/httpapi            handlers that return errors, the table of statuses, limits, the request log
//
//	internal/queue/sqlitequeue  the queue in a SQLite file; also the agent's spool
//	internal/queue/redisqueue   the queue on Redis Streams, for many machines
//	internal/queue/celeryqueue  the queue as tasks of a Celery broker
//	internal/celeryworker       a picket worker as Celery sees it: events, remote control
//	internal/queue/redisstats   counters, rates and dead letters of both
//	internal/queue/diskbuffer   a disk buffer in front of a remote queue, for when that is unreachable
//	internal/queue/queuetest    what every queue must pass
//	internal/store/sqlitestore  the store in a SQLite file
//	internal/store/sqlitestore/block  its columnar format, pure bytes
//	internal/store/mongostore   the store in MongoDB: documents, and a journal in place of transactions
//	internal/store/storetest    what every store must pass
//
//	internal/detect             the pure engine: events in, matches out
//	internal/ruleset            the rules: load, watch, packs, enable and disable, publish, test
//	internal/correlate          the elected runner of correlations
//	internal/worker             receive, detect, save, ack
//	internal/ingest             the intake: telemetry, _bulk, osquery
//	internal/audit              records who did what
//	internal/triage             what people decide: alerts, dead letters, rules
//	internal/api                the JSON API
//	internal/web                the console
//	internal/agent              sources, spool, post
//	internal/scan               rules over files
//	internal/legacy             everything that only clients of the legacy system need
//
//	internal/doctor             checks an installation
//	internal/migrate            copies a store into MongoDB
//	cmd/picket                  one binary: main.go, and a file for each command; all wiring is here
//	internal/redistest          real Redis servers for the tests: killed, frozen, in a Cluster
//	internal/nettest            networks for the tests: slow, cut, with hosts of their own
//	test                        the console in a real browser, picket beside real Celery; a module of its own
//	test/ferretdb               a server of MongoDB's protocol for the tests; likewise
//
// # Where to start
//
//  1. event.go, batch.go and alert.go in this folder: the words.
//  2. internal/queue/queue.go and internal/store/store.go: the two seams, with
//     their promises.
//  3. internal/ingest/telemetry.go, then internal/worker/worker.go: the way of a
//     batch, on both sides of the queue.
//  4. internal/detect/engine.go and the comment of package sigma: how an event
//     meets thousands of rules.
//  5. cmd/picket/server.go: how it is put together.
//
// Why it is so, a page for each decision, is in docs/adr. What users read is in
// docs.
package picket
