package celery_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/picket-edr/picket/celery"
)

// A producer: LPUSH the message to the list, and Python runs the task.
func ExampleTask_Append() {
	keys := celery.Keys{}
	task := celery.Task{Name: "telemetry.telemetry_ingest", Args: json.RawMessage(`[{"event_id": "e-1"}]`), RoutingKey: "edr"}
	message := task.Append(nil)
	fmt.Println("LPUSH", keys.List(task.RoutingKey, task.Priority), len(message) > 500)
	// Output: LPUSH edr true
}

// A worker: read a message, run it unless others are to follow, write the result.
func ExampleDecoder() {
	var decoder celery.Decoder
	sent := celery.Task{ID: "t-1", Name: "sum", Args: json.RawMessage("[1, 2]")}

	task, err := decoder.Decode(sent.Append(nil))
	var refused *celery.DecodeError
	if errors.As(err, &refused) {
		fmt.Println(refused.Reason, refused.Hint)
		return
	}
	if kinds := task.FollowUps(); len(kinds) > 0 {
		fmt.Println("refused: the task has", kinds)
		return
	}
	var numbers []int
	args, err := celery.NormalizeJSON(nil, task.Args)
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := json.Unmarshal(args, &numbers); err != nil {
		fmt.Println(err)
		return
	}
	result := celery.Result{
		TaskID: task.ID, Status: celery.Success, Value: fmt.Append(nil, numbers[0]+numbers[1]), Done: time.Unix(1795465234, 0),
	}
	fmt.Println(celery.Keys{}.Result(task.ID), string(result.Append(nil)))
	// Output:
	// celery-task-meta-t-1 {"status": "SUCCESS", "result": 3, "traceback": null, "children": [], "date_done": "2026-11-23T20:20:34+00:00", "task_id": "t-1"}
}

func ExampleNormalizeJSON() {
	src := []byte(`[{"__type__": "uuid", "__value__": {"hex": "89105af8f2a14c11b23323160e984f02"}}, NaN, 1.50]`)
	b, err := celery.NormalizeJSON(nil, src)
	fmt.Println(string(b), err)
	// Output: ["89105af8-f2a1-4c11-b233-23160e984f02", "NaN", 1.50] <nil>
}
