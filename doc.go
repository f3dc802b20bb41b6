// Package picket has the types that the rest of picket is about: Event, Batch,
// Match, Alert, and the kinds of errors. This comment is the tour of the code and
// takes ten minutes.
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
// An agent posts a batch of events. Package ingest validates each event, puts the
// batch on the queue, and only then answers. A worker receives the batch, asks
// package detect which rules match, saves events, matches and alerts in one step,
// and only then acknowledges the batch. People use the store through the console
// (web) and the API (api).
//
// Four promises hold it together:
//
//   - Success is answered only after Enqueue returned nil. The batch then survives
//     kill -9 and a power loss.
//   - A batch is acknowledged only after all of it has been saved.
//   - Saving is idempotent: an event is identified by its Key (sender, agent, index and
//     id), a match by MatchID, a batch by its ID. Redelivery and retries change nothing.
//   - What was accepted is stored, or becomes a dead letter with its cause.
//
// # The packages, bottom up
//
// A package imports only packages above it in this list; a test checks that
// (importtest).
//
//	sigma/casefold               Unicode case folding
//	sigma/regexpsize             how large a regular expression compiles
//	sigma/ast                    parsed Sigma rules
//	sigma/correlation            the correlation runtime: windows, aggregates, state
//	sigma                        parses, compiles, matches and explains Sigma rules; public
//	sigma/pipeline               processing pipelines: rules for other field names; public
//	sigma/lint                   reports likely mistakes in rules; public
//	internal/jsonescape          escapes of JSON strings
//	internal/commandline         joins arguments into a command line, splits it again
//	internal/timetext            times and durations as people write them
//	internal/printable           text that is not trusted, safe for terminals and spreadsheets
//	celery                       Celery's protocol: tasks, results, events, remote control; public
//	rules                        picket's own rule pack, embedded, with tests for each rule
//	internal/zst                 zstd, with encoders shared by the process
//	internal/evtx                Windows event logs as JSON
//	internal/logline             lines of text logs as events
//	internal/backoff             delays between retries
//	internal/groupcommit         concurrent operations share one commit
//	internal/filelock            locks a file for one process
//	.                            Event, Batch and its encoding, Match, Alert, kinds of errors
//
//	internal/flatjson            one JSON object as flat leaves, without allocation
//	internal/normalize           detects event formats and maps them to Sigma's fields
//	internal/legacy/ruleconvert  converts legacy rules to Sigma
//	internal/redisurl            Redis connections and the settings of their servers
//	internal/sqlitefile          SQLite files with checksums, and what can be read of damaged ones
//	internal/queue               the seam between intake and workers
//	internal/queue/redisstats    what the queues on Redis share: counters, rates, dead letters
//	internal/queue/diskbuffer    a buffer on the local disk in front of a remote queue
//	internal/store               the seam behind workers and console; the query language
//	internal/auth                tokens, users, sessions
//	internal/httpapi             handlers that return errors, the table of statuses, the request log
//	internal/cache               caches the console's statistics
//	internal/cache/rediscache    the cache in Redis, for several servers
//
//	internal/queue/sqlitequeue   the queue in a SQLite file; also the agent's spool
//	internal/queue/redisqueue    the queue on Redis Streams, for many machines
//	internal/queue/celeryqueue   the queue as tasks of a Celery broker
//	internal/celeryworker        how a picket worker appears to Celery: events, remote control
//	internal/store/sqlitestore/block
//	                             the columnar block format of events
//	internal/store/sqlitestore   the store in a SQLite file
//	internal/store/mongostore    the store in MongoDB
//
//	internal/detect              the pure engine: events in, matches out
//	internal/ruleset             the rules: load, watch, packs, enable and disable, publish, test
//	internal/rulecoverage        which rules can fire on the events that are received
//	internal/correlate           the elected runner of correlations
//	internal/worker              receives, detects, saves, acknowledges
//	internal/ingest              the intake: telemetry, Elasticsearch's bulk API, osquery
//	internal/audit               records who did what
//	internal/triage              what people decide: alerts, dead letters, rules
//	internal/api                 the JSON API
//	internal/web                 the console
//	internal/legacy              everything that only clients of the legacy system need
//	internal/agent               sources, spool, upload
//	internal/scan                rules over files
//	internal/scanreport          reports of a scan: sorted matches, summary, page
//	internal/backup              writes a data directory into an archive while it is in use; restores it
//	internal/doctor              checks an installation
//	internal/migrate             copies a store into MongoDB; moves what one queue holds into another
//
//	cmd/picket                   one binary: main.go, a file for each command, and all wiring
//
// The packages below sigma/internal are parts of sigma's: the literal index, the
// regex prefilter, the parser. Packages whose names end in "test", and testenv, are
// for tests. The folder test is a module of its own: the console in a real browser,
// and picket beside real Celery and Flower.
//
// # Glossary
//
//	ack            remove a delivery from the queue, because its batch is saved
//	agent          the program on an endpoint that reads sources and uploads events
//	alert          what an analyst triages: the matches of one rule on one host until it is closed
//	allowed lateness
//	               how much later than the watermark an event may arrive in a correlation
//	batch          the events of one request; the unit that is queued, evaluated and stored
//	block          the events of many batches in one compressed columnar unit of the SQLite store
//	bury           replace a delivery in the queue by dead letters
//	checkpoint     the saved position of an agent's source, or of the correlations
//	class          what an event is: its type, operating system and logsources
//	collector      a program that sends the events of many agents
//	conflicting    a duplicate event with other bytes than what is stored
//	correlation    a Sigma rule over several events: a count, a sequence, an absence
//	dead letter    an event or batch that could not be processed, with its cause
//	delivery       a message leased to a worker
//	disk buffer    a queue on the local disk in front of a remote queue that may be unreachable
//	enabled        a rule that runs; a disabled rule is loaded, listed and does not run
//	event          one telemetry record of an endpoint
//	format         the form in which a sender writes its events, such as winlogbeat
//	host           the machine that an event is about
//	intake         the server's side of telemetry requests (package ingest)
//	isolation      delivering a batch alone, because its workers were lost
//	lease          a worker's claim on a message; when it expires, the message is redelivered
//	legacy         the Django system that picket replaces, and its agents
//	level          Sigma's severity of a rule: informational, low, medium, high, critical
//	logsource      Sigma's description of the events that a rule is about
//	match          one rule matching one event
//	message        a batch in the queue
//	namespace      stands for an event's sender, agent and index; its id is unique in it
//	node           a picket worker as Celery's tools see it
//	observation    a match kept as input of correlations
//	pack           an installed collection of rules
//	pipeline       a Sigma processing pipeline, which adapts rules to field names
//	prefilter      literals one of which an event must contain for a rule to be evaluated
//	rejected       an event that the intake refused; failed: one that no worker could process
//	sender         who sent an event, as the intake authenticated it
//	source         one input of an agent, such as process, file=PATH or replay=FILE
//	spool          the agent's queue on disk of batches to upload
//	store          where events, matches, alerts, hosts and accounts are kept
//	watermark      the time up to which a correlation has seen all events
//	window         the time span over which a correlation aggregates
//
// # Where to start
//
//  1. event.go, batch.go and alert.go in this folder: the types.
//  2. internal/queue/queue.go and internal/store/store.go: the two seams, with
//     their promises.
//  3. internal/ingest/telemetry.go, then internal/worker/worker.go: the path of a
//     batch, on both sides of the queue.
//  4. internal/detect/engine.go and the comment of package sigma: how an event
//     meets thousands of rules.
//  5. cmd/picket/server.go: how it is wired together.
//
// Decisions have a page each in docs/adr. The documentation for users is in docs.
package picket
