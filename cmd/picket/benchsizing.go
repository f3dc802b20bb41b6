package main

import (
	"fmt"
	"math"
	"time"

	"github.com/spf13/cobra"
)

// sizingCosts are what the parts of a deployment cost, as measured for docs/scale.md, with
// all rules of SigmaHQ.
type sizingCosts struct {
	IntakeMicros    float64 `json:"intake_us"`    // CPU of a server for an event
	DetectMicros    float64 `json:"detect_us"`    // CPU of a worker for an event, detection
	SaveMicros      float64 `json:"save_us"`      // and saving it in MongoDB
	DatabaseMicros  float64 `json:"database_us"`  // CPU of MongoDB for an event
	MachineMicros   float64 `json:"machine_us"`   // CPU of picket serve with the embedded store for an event
	RedisBatches    float64 `json:"redis_per_s"`  // batches a second of one Redis
	QueuedShare     float64 `json:"queued_share"` // of an event's bytes, in Redis
	QueuedBatch     float64 `json:"queued_batch"` // further bytes of a batch in Redis
	DocumentShare   float64 `json:"document_share"`
	IndexBytes      float64 `json:"index_bytes"`    // of an event in MongoDB, besides DocumentShare of its bytes
	EmbeddedShare   float64 `json:"embedded_share"` // of an event's bytes, in the embedded store
	BatchesPerSave  float64 `json:"batches_per_save"`
	WrittenPerBytes float64 `json:"written_per_byte"` // bytes that a database writes for one that it stores
}

var measuredCosts = sizingCosts{
	IntakeMicros: 33, DetectMicros: 7, SaveMicros: 22, DatabaseMicros: 70, MachineMicros: 33, RedisBatches: 25_000, QueuedShare: 0.1, QueuedBatch: 200,
	DocumentShare: 0.35, IndexBytes: 630, EmbeddedShare: 0.08, BatchesPerSave: 8, WrittenPerBytes: 3,
}

// Units of a plan. Half of each is kept free.
const (
	sizingFree          = 0.5
	sizingCores         = 4     // of a server and a worker
	sizingDatabaseCores = 16    // of a member of a shard
	sizingRedisBytes    = 64e9  // of a master
	maxRedisMasters     = 16    // a queue has 16 streams
	sizingIOBytes       = 64e3  // of an operation of a database's disk
	sizingMachineCores  = 8     // of one machine that does everything
	sizingConnections   = 32    // of a process to MongoDB
	sizingWireFactor    = 1.3   // bytes on the wire to the database for one of an event
	secondsPerDay       = 86400 //
)

// A sizingLoad is what a deployment must bear.
type sizingLoad struct {
	Hosts            int           `json:"hosts"`
	EventsPerHostDay float64       `json:"events_per_host_day"`
	Peak             float64       `json:"peak"` // times the average
	EventBytes       float64       `json:"event_bytes"`
	EventsPerBatch   float64       `json:"events_per_batch"`
	RetentionDays    float64       `json:"retention_days"`
	Outage           time.Duration `json:"-"` // of all workers, that the queue bears
}

// A sizingPlan is what a load needs.
type sizingPlan struct {
	Hosts       int     `json:"hosts"`
	EventsPerS  float64 `json:"events_per_s"` // at the peak
	OneMachine  bool    `json:"one_machine"`
	Cores       int     `json:"cores,omitempty"` // of the one machine
	Servers     int     `json:"servers,omitempty"`
	Workers     int     `json:"workers,omitempty"`
	Masters     int     `json:"redis_masters,omitempty"`
	RedisGB     float64 `json:"redis_gb,omitempty"` // in all
	Shards      int     `json:"shards,omitempty"`
	DiskTB      float64 `json:"disk_tb"` // of one copy
	IOPS        float64 `json:"iops,omitempty"`
	NetworkMBs  float64 `json:"network_mb_per_s,omitempty"` // into the database
	Connections int     `json:"connections,omitempty"`      // to MongoDB
	First       string  `json:"first"`                      // the part that gives way first
	Then        string  `json:"then"`
}

// units returns how many units of some cores bear so many events a second, each of which
// takes some microseconds.
func units(perS, micros, cores float64) int {
	return max(1, int(math.Ceil(perS*micros/1e6/(cores*(1-sizingFree)))))
}

// plan sizes a deployment.
func (c sizingCosts) plan(l sizingLoad) sizingPlan {
	average := float64(l.Hosts) * l.EventsPerHostDay / secondsPerDay
	peak := average * l.Peak
	p := sizingPlan{Hosts: l.Hosts, EventsPerS: peak}
	stored := average * secondsPerDay * l.RetentionDays
	if cores := units(peak, c.MachineMicros, 1); cores <= sizingMachineCores {
		p.OneMachine, p.Cores = true, max(2, cores)
		p.DiskTB = stored * l.EventBytes * c.EmbeddedShare / 1e12
		p.First, p.Then = "the cores of the machine", "Redis, MongoDB and workers on other machines"
		return p
	}
	perS := peak / l.EventsPerBatch // batches
	waiting := peak * l.Outage.Seconds() * (l.EventBytes*c.QueuedShare + c.QueuedBatch/l.EventsPerBatch)
	eventBytes := l.EventBytes*c.DocumentShare + c.IndexBytes
	p.Servers = units(peak, c.IntakeMicros, sizingCores)
	p.Workers = units(peak, c.DetectMicros+c.SaveMicros, sizingCores)
	p.RedisGB = waiting / 1e9
	p.Masters = max(int(math.Ceil(waiting/sizingRedisBytes)), int(math.Ceil(perS/(c.RedisBatches*(1-sizingFree)))), 1)
	p.Shards = units(peak, c.DatabaseMicros, sizingDatabaseCores)
	p.DiskTB = stored * eventBytes / 1e12
	p.IOPS = perS/c.BatchesPerSave + peak*eventBytes*c.WrittenPerBytes/sizingIOBytes
	p.NetworkMBs = peak * l.EventBytes * sizingWireFactor / 1e6
	p.Connections = (p.Servers + p.Workers) * sizingConnections
	p.First, p.Then = "the cores of the database", "more shards, or fewer events: filter at the source"
	if p.Masters > maxRedisMasters {
		p.First, p.Then = "the memory of Redis", "a shorter outage, or a second deployment"
	}
	return p
}

// String returns the plan as a row of the table in docs/scale.md.
func (p sizingPlan) String() string {
	if p.OneMachine {
		return fmt.Sprintf("| %d | %.0f | one machine, %d cores | | | %.1f TB | | | | %s: %s |", p.Hosts, p.EventsPerS, p.Cores, p.DiskTB, p.First, p.Then)
	}
	return fmt.Sprintf("| %d | %.0f | %d servers, %d workers | %d masters, %.0f GB | %d shards | %.0f TB | %.0f | %.0f MB/s | %d | %s: %s |",
		p.Hosts, p.EventsPerS, p.Servers, p.Workers, p.Masters, p.RedisGB, p.Shards, p.DiskTB, p.IOPS, p.NetworkMBs, p.Connections, p.First, p.Then)
}

// defaultSizingLoad is the load of the table in docs/scale.md.
var defaultSizingLoad = sizingLoad{EventsPerHostDay: secondsPerDay, Peak: 2, EventBytes: 1000, EventsPerBatch: 50, RetentionDays: 14, Outage: time.Hour}

// sizedHosts are the rows of that table.
var sizedHosts = []int{1_000, 10_000, 100_000, 1_000_000}

func newBenchSizing() *cobra.Command {
	l := defaultSizingLoad
	cmd := &cobra.Command{
		Use:   "sizing [--hosts N,...]",
		Short: "Print what a number of hosts needs, and the costs that it is computed from",
		Long: `Computes how many servers, workers, masters of Redis and shards of MongoDB a number of
hosts needs, and prints the costs that were measured for docs/scale.md. Nothing is
measured: compare the costs with bench detect and bench pipeline on your machines.`,
		Args: cobra.NoArgs,
	}
	fl := cmd.Flags()
	hosts := fl.IntSlice("hosts", sizedHosts, "numbers `N` of hosts")
	fl.Float64Var(&l.EventsPerHostDay, "events-per-day", l.EventsPerHostDay, "number `N` of events of a host in a day")
	fl.Float64Var(&l.Peak, "peak", l.Peak, "the busiest hour has `N` times the average")
	fl.Float64Var(&l.EventBytes, "event-bytes", l.EventBytes, "`BYTES` of an event")
	fl.Float64Var(&l.EventsPerBatch, "batch", l.EventsPerBatch, "number `N` of events in a batch")
	fl.Float64Var(&l.RetentionDays, "days", l.RetentionDays, "number `N` of days that events are kept")
	fl.DurationVar(&l.Outage, "outage", l.Outage, "`DURATION` of an outage of all workers that the queue bears")
	asJSON := fl.Bool("json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if l.EventsPerHostDay <= 0 || l.Peak < 1 || l.EventBytes <= 0 || l.EventsPerBatch < 1 || l.RetentionDays < 0 || l.Outage < 0 {
			return usagef("bench sizing: --events-per-day, --event-bytes and --batch must be above 0, --peak at least 1, --days and --outage not below 0")
		}
		var plans []sizingPlan
		for _, n := range *hosts {
			if n < 1 {
				return usagef("bench sizing: --hosts must be above 0")
			}
			l.Hosts = n
			plans = append(plans, measuredCosts.plan(l))
		}
		if *asJSON {
			return printJSONLine(cmd.OutOrStdout(), map[string]any{"costs": measuredCosts, "plans": plans})
		}
		out := cmd.OutOrStdout()
		c := measuredCosts
		_, err := fprintfPrintable(out, "CPU of an event: %.0f us in a server, %.0f us of detection and %.0f us of saving in a worker, %.0f us in the database, %.0f us on one machine\n"+
			"one Redis: %.0f batches/s, %.0f %% of an event's bytes and %.0f bytes a batch; an event on disk: %.0f %% and %.0f bytes of indexes\n\n%s\n",
			c.IntakeMicros, c.DetectMicros, c.SaveMicros, c.DatabaseMicros, c.MachineMicros, c.RedisBatches, 100*c.QueuedShare, c.QueuedBatch, 100*c.DocumentShare, c.IndexBytes, sizingHeader)
		for _, p := range plans {
			if err == nil {
				_, err = fprintfPrintable(out, "%s\n", p.String())
			}
		}
		return err
	}
	return cmd
}

// sizingHeader is the head of the table in docs/scale.md.
const sizingHeader = `| hosts | events/s | servers and workers, 4 cores each | Redis | MongoDB, 16 cores each | disk of a copy | IOPS | into the database | connections | gives way first: what then |
|---|---|---|---|---|---|---|---|---|---|`
