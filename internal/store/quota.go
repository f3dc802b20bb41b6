package store

import (
	"cmp"
	"strings"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/sigma"
)

// DefaultMaxNewAlerts is how many alerts the events of one agent open in a minute. For
// each, MatchQuotaBytesPerAlert bytes of their matches are stored, and further matches are
// only counted. All agents of a sender have SenderQuotaFactor times as much of both, and
// add as many hosts as alerts. In addition, the matches of a sender may take
// MatchBytesPerEventByte times the bytes of its events of that minute.
const (
	DefaultMaxNewAlerts     = 500
	MatchQuotaBytesPerAlert = 13 << 10
	MatchBytesPerEventByte  = 2
	SenderQuotaFactor       = 10
)

// CorrelationSender is the sender of the matches of correlations.
const CorrelationSender = "correlations"

// AlertQuotaRule is the rule id of the alerts that gather the matches past a quota.
const AlertQuotaRule = "picket:alert-quota"

// A Quota bounds what one sender adds in a minute. It counts in memory: each process has
// a Quota of its own, which starts again with the process. What a batch adds is decided
// once, when it is saved, so a batch that is delivered again changes nothing. A Quota is
// for one transaction at a time.
type Quota struct {
	maxAlerts int
	minute    int64
	used      map[quotaKey]*int
}

type quotaKey struct{ of, sender, agent string }

// NewQuota returns a Quota of so many new alerts for an agent. 0: DefaultMaxNewAlerts;
// negative: no bound.
func NewQuota(maxAlerts int) *Quota { return &Quota{maxAlerts: cmp.Or(maxAlerts, DefaultMaxNewAlerts)} }

// BeginTransaction returns what a transaction may add at a time, in microseconds.
func (q *Quota) BeginTransaction(now int64) *QuotaUse {
	return &QuotaUse{quota: q, minute: StartOfMinuteMicros(now)}
}

// A QuotaUse is what one transaction adds.
type QuotaUse struct {
	quota  *Quota
	minute int64
	added  map[quotaKey]int
}

func (u *QuotaUse) used(k quotaKey) int {
	n := u.added[k]
	if used := u.quota.used[k]; used != nil && u.quota.minute == u.minute {
		n += *used
	}
	return n
}

func (u *QuotaUse) add(k quotaKey, n int) {
	if u.added == nil {
		u.added = make(map[quotaKey]int)
	}
	u.added[k] += n
}

// AlertOrGathering returns the alert that a match of a sender's event opens: a, or past a quota the
// one that gathers such matches.
func (u *QuotaUse) AlertOrGathering(sender string, a picket.Alert) picket.Alert {
	limit := u.quota.maxAlerts
	switch {
	case limit < 0 || a.RuleID == AlertQuotaRule:
		return a
	case u.used(quotaKey{"alerts", sender, ""}) >= limit*SenderQuotaFactor:
		return newGatheringAlert("Too many new alerts from this sender: further matches are here", GatheringAgent(sender))
	case u.used(quotaKey{"alerts of", sender, a.AgentID}) >= limit:
		return newGatheringAlert("Too many new alerts from this agent: further matches are here", a.AgentID)
	}
	return a
}

// SeveralHosts is the host of alerts that gather matches.
const SeveralHosts = "(several)"

// newGatheringAlert returns an alert that gathers matches.
func newGatheringAlert(title, agent string) picket.Alert {
	return picket.Alert{RuleID: AlertQuotaRule, Title: title, Level: sigma.High, AgentID: agent, Host: SeveralHosts}
}

// GatheringAgent returns the agent of the alert that gathers matches of all agents of a
// sender.
func GatheringAgent(sender string) string { return cmp.Or(sender, "unknown") }

// AddAlert counts an alert that was opened.
func (u *QuotaUse) AddAlert(sender string, a *picket.Alert) {
	if a.RuleID != AlertQuotaRule {
		u.add(quotaKey{"alerts", sender, ""}, 1)
		u.add(quotaKey{"alerts of", sender, a.AgentID}, 1)
	}
}

// AddEventBytes counts the bytes of a sender's new events.
func (u *QuotaUse) AddEventBytes(sender string, n int) { u.add(quotaKey{"event bytes", sender, ""}, n) }

// AddMatch counts the bytes of a match of a sender's event. It returns false past the
// quota: the match is then only counted in its alert. Matches of correlations have no
// quota, because a replay must know which of them are new.
func (u *QuotaUse) AddMatch(sender string, m *picket.Match) (bytesFit bool) {
	limit := u.quota.maxAlerts * MatchQuotaBytesPerAlert
	if limit < 0 || sender == CorrelationSender {
		return true
	}
	extra := MatchBytesPerEventByte * u.used(quotaKey{"event bytes", sender, ""})
	all, one := quotaKey{"matches", sender, ""}, quotaKey{"matches of", sender, m.AgentID}
	n := MatchSize(m)
	if u.used(one)+n > limit+extra || u.used(all)+n > limit*SenderQuotaFactor+extra {
		return false
	}
	u.add(all, n)
	u.add(one, n)
	return true
}

// AddHost counts a new host of a sender. It returns false past the quota.
func (u *QuotaUse) AddHost(sender string) bool {
	k := quotaKey{"hosts", sender, ""}
	if limit := u.quota.maxAlerts; limit >= 0 && u.used(k) >= limit*SenderQuotaFactor {
		return false
	}
	u.add(k, 1)
	return true
}

// Commit counts what the transaction has added, once it cannot fail any more.
func (u *QuotaUse) Commit() {
	q := u.quota
	if len(u.added) == 0 {
		return
	}
	if q.minute != u.minute {
		q.minute, q.used = u.minute, make(map[quotaKey]*int)
	}
	for k, n := range u.added {
		used := q.used[k]
		if used == nil {
			used = new(int)
			q.used[quotaKey{k.of, strings.Clone(k.sender), strings.Clone(k.agent)}] = used // k aliases a batch
		}
		*used += n
	}
}
