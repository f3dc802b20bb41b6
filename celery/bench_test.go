package celery_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/picket-edr/picket/celery"
)

// telemetry is a task as large as those that carry an event: 1.5 KB on the wire.
func telemetry() *celery.Task {
	args := `[{"event_id": "8f0c1f9e-5c8b-4f43-9f0f-1b2b8a7f2f10", "agent_id": "agent-0042", "event_type": "process_creation", ` +
		`"timestamp": "2026-11-23T20:20:34.670292+00:00", "process": {"pid": 4711, "ppid": 812, "name": "powershell.exe", ` +
		`"command_line": "powershell.exe -nop -w hidden -enc SQBFAFgAIAAoAE4AZQB3", "user": "CORP\\alice"}, "severity": 3, "tags": ["edr", "windows"]}]`
	return &celery.Task{
		ID: "89105af8-f2a1-4c11-b233-23160e984f02", Name: "telemetry.telemetry_ingest", Args: json.RawMessage(args),
		RoutingKey: "celery", Origin: "gen25881@vm", ReplyTo: "8efac453-7f67-37ca-942f-692449f7a96b", ArgsRepr: "({...},)",
	}
}

func BenchmarkDecode(b *testing.B) {
	envelope := telemetry().Append(nil)
	var d celery.Decoder
	b.SetBytes(int64(len(envelope)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Decode(envelope); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDecodeStandard is what encoding/json would take for the same, were
// there no NaN.
func BenchmarkDecodeStandard(b *testing.B) {
	envelope := telemetry().Append(nil)
	b.SetBytes(int64(len(envelope)))
	b.ReportAllocs()
	for b.Loop() {
		var e struct {
			Body    string
			Headers struct {
				Task, ID, Argsrepr, Kwargsrepr, Origin, Root_ID string
				Retries                                         int
				Rest                                            map[string]json.RawMessage
			}
			Properties struct {
				Correlation_ID, Reply_To, Body_Encoding, Delivery_Tag string
				Priority                                              int
			}
		}
		var parts []json.RawMessage
		if err := json.Unmarshal(envelope, &e); err != nil {
			b.Fatal(err)
		}
		body, err := base64.StdEncoding.DecodeString(e.Body)
		if err != nil {
			b.Fatal(err)
		}
		if err := json.Unmarshal(body, &parts); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTaskAppend(b *testing.B) {
	task := telemetry()
	b.ReportAllocs()
	var buf []byte
	for b.Loop() {
		buf = task.Append(buf[:0])
	}
}

func BenchmarkResultAppend(b *testing.B) {
	r := celery.Result{
		TaskID: "89105af8-f2a1-4c11-b233-23160e984f02", Status: celery.Success, Done: time.Unix(1795465234, 670292000),
		Value: json.RawMessage(`{"accepted": 1, "event_id": "e-1"}`),
	}
	b.ReportAllocs()
	var buf []byte
	for b.Loop() {
		buf = r.Append(buf[:0])
	}
}

func BenchmarkPlain(b *testing.B) {
	clean := []byte(telemetry().Args)
	for _, bench := range []struct {
		name string
		src  []byte
	}{
		{"nothing to do", clean},
		{"changes", fmt.Appendf(nil, `[NaN, {"__type__": "datetime", "__value__": "2026-11-23T20:20:34"}, %s]`, clean[1:len(clean)-1])},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.SetBytes(int64(len(bench.src)))
			b.ReportAllocs()
			var buf []byte
			for b.Loop() {
				out, err := celery.NormalizeJSON(buf, bench.src)
				if err != nil {
					b.Fatal(err)
				}
				if len(out) != len(bench.src) {
					buf = out
				}
			}
		})
	}
}

// BenchmarkEventsAppend is the message of the three events that a task makes.
func BenchmarkEventsAppend(b *testing.B) {
	at := time.Unix(1795465234, 658000000)
	id := "89105af8-f2a1-4c11-b233-23160e984f02"
	events := []celery.Event{
		{Type: "task-received", Hostname: "worker1@vm", PID: 26079, Clock: 2, Time: at, UUID: id, RootID: id, Name: "telemetry.telemetry_ingest", Args: "({...},)", Kwargs: "{}"},
		{Type: "task-started", Hostname: "worker1@vm", PID: 26079, Clock: 3, Time: at, UUID: id},
		{Type: "task-succeeded", Hostname: "worker1@vm", PID: 26079, Clock: 4, Time: at, UUID: id, Result: "{'accepted': 1}", Runtime: 15 * time.Millisecond},
	}
	b.ReportAllocs()
	var buf []byte
	for b.Loop() {
		buf = celery.AppendEvents(buf[:0], events)
	}
}
