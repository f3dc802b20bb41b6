// Package ruleset loads rules and keeps them up to date: it reads them from files,
// packs or the store, compiles them into a detection engine, reloads them when they
// change, enables and disables single rules, publishes them for workers on other
// machines, and runs their tests.
//
// Promise: a rule that does not load is reported and does not keep others from
// loading, and a source that cannot be read leaves the previous rules running.
package ruleset
