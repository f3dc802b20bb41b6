package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/picket-edr/picket/internal/testenv"
)

// The table of docs/scale.md is what bench sizing prints.
func TestSizingTable(t *testing.T) {
	text, err := os.ReadFile("../../docs/scale.md")
	testenv.Check(t, err)
	want := []string{sizingHeader}
	for _, hosts := range sizedHosts {
		l := defaultSizingLoad
		l.Hosts = hosts
		want = append(want, measuredCosts.plan(l).String())
	}
	if table := strings.Join(want, "\n") + "\n"; !strings.Contains(string(text), table) {
		t.Errorf("docs/scale.md does not have this table:\n%s", table)
	}
}

// A plan is the arithmetic that docs/scale.md describes, for round numbers.
func TestSizingPlan(t *testing.T) {
	c := sizingCosts{IntakeMicros: 10, DetectMicros: 10, SaveMicros: 10, DatabaseMicros: 80, MachineMicros: 100, RedisBatches: 20_000, QueuedShare: 0.1, QueuedBatch: 500,
		DocumentShare: 0.5, IndexBytes: 500, EmbeddedShare: 0.1, BatchesPerSave: 10, WrittenPerBytes: 4}
	l := sizingLoad{Hosts: 1000, EventsPerHostDay: 86_400, Peak: 2, EventBytes: 1000, EventsPerBatch: 100, RetentionDays: 10, Outage: 1000 * time.Second}
	// 2,000 events/s take 0.2 cores: 0.4 with half of them free.
	if p := c.plan(l); !p.OneMachine || p.Cores != 2 || p.EventsPerS != 2000 || p.DiskTB != 0.0864 {
		t.Errorf("one machine: %+v", p)
	}
	l.Hosts = 100_000
	want := sizingPlan{
		Hosts: 100_000, EventsPerS: 200_000,
		Servers:    1,      // 200,000 x 10 us = 2 cores, 4 with half free
		Workers:    2,      // 200,000 x 20 us = 4 cores, 8 with half free
		Masters:    1,      // 2,000 batches/s of 10,000, and 21 GB of 64
		RedisGB:    21,     // 200,000 x 1,000 s x (100 + 5) bytes
		Shards:     2,      // 200,000 x 80 us = 16 cores, 32 with half free
		DiskTB:     86.4,   // 100,000/s x 10 days x 1,000 bytes
		IOPS:       12_700, // 200 saves/s, and 200,000 x 1,000 x 4 / 64,000
		NetworkMBs: 260, Connections: 96,
		First: "the cores of the database", Then: "more shards, or fewer events: filter at the source",
	}
	if p := c.plan(l); p != want {
		t.Errorf("plan %+v\nwant %+v", p, want)
	}
	l.Outage = 100 * time.Hour
	if p := c.plan(l); p.First != "the memory of Redis" || p.Masters <= maxRedisMasters {
		t.Errorf("a long outage: %+v", p)
	}
}
