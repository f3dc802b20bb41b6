package celeryworker

import (
	"cmp"

	"github.com/picket-edr/picket/celery"
	"github.com/picket-edr/picket/internal/queue/celeryqueue"
)

// TasksReceived implements celeryqueue.Observer. It counts the tasks, and emits
// task-received and, for those that began, task-started.
func (n *Node) TasksReceived(all, begun []*celeryqueue.UnackedTask) {
	n.processed.Add(int64(len(all)))
	n.mu.Lock()
	for _, t := range all {
		n.total[t.Name]++
	}
	n.mu.Unlock()
	if !n.eventsEnabled.Load() {
		return
	}
	for _, t := range all {
		e := n.newEvent("task-received")
		e.UUID, e.RootID, e.ParentID, e.Name, e.Args, e.Kwargs = t.ID, t.RootID, t.ParentID, cmp.Or(t.Shadow, t.Name), t.ArgsRepr, t.KwargsRepr
		e.Retries, e.ETA, e.Expires = t.Retries, t.ETA, t.Expires
		n.bufferEvent(e)
	}
	for _, t := range begun {
		e := n.newEvent("task-started")
		e.UUID = t.ID
		n.bufferEvent(e)
	}
}

// TasksFinished implements celeryqueue.Observer. It emits task-succeeded, task-failed,
// task-retried and task-revoked.
func (n *Node) TasksFinished(tasks []*celeryqueue.UnackedTask) {
	if !n.eventsEnabled.Load() {
		return
	}
	for _, t := range tasks {
		n.bufferEvent(n.newFinishedEvent(t))
	}
}

func (n *Node) newFinishedEvent(t *celeryqueue.UnackedTask) (e celery.Event) {
	switch t.Result.Status {
	case celery.Success:
		e = n.newEvent("task-succeeded")
		e.Result, e.Runtime = t.ResultRepr(), t.Runtime()
	case celery.Revoked:
		e = n.newEvent("task-revoked")
		e.Expired = t.Expired
	case celery.Retry:
		e = n.newEvent("task-retried")
		e.Exception = t.Result.Exception.String()
	default:
		e = n.newEvent("task-failed")
		e.Exception, e.Traceback = t.Result.Exception.String(), t.Result.Traceback
	}
	e.UUID = t.ID
	return e
}
