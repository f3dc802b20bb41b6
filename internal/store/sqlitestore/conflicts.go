package sqlitestore

import (
	"cmp"
	"context"
	"fmt"
	"hash/maphash"
	"slices"

	"github.com/picket-edr/picket/internal/store/sqlitestore/block"
)

// An uncomparedDuplicate event is a duplicate of an event whose bytes have to be read to be
// compared with.
type uncomparedDuplicate struct {
	event int // of the batch
	hashedEvent
	seq int64 // of the stored event
}

// compareStored adds the uncompared events that differ from what is stored to the
// conflicting ones. Each stored event is read once: then the window has its hash.
func (s *Store) compareStored(ctx context.Context, p *saveOp) error {
	if !slices.ContainsFunc(p.batches, func(b dedupedBatch) bool { return len(b.uncompared) > 0 }) {
		return nil
	}
	var seqs []int64
	for i := range p.batches {
		for _, u := range p.batches[i].uncompared {
			seqs = append(seqs, u.seq)
		}
	}
	slices.Sort(seqs)
	stored, err := s.readContents(ctx, slices.Compact(seqs))
	if err != nil {
		return fmt.Errorf("compare duplicates: %w", err)
	}
	s.dedup.mu.Lock()
	defer s.dedup.mu.Unlock()
	for i := range p.batches {
		b := &p.batches[i]
		for _, u := range b.uncompared {
			c, ok := stored[u.seq]
			if !ok { // deleted or set aside since
				continue
			}
			if known := s.dedup.window.find(u.identityHash); known != nil {
				*known = c
			}
			if c != u.content {
				b.conflicting = append(b.conflicting, u.event)
			}
		}
		slices.Sort(b.conflicting)
	}
	return nil
}

// readContents returns the contents of the events with sequence numbers, which are in
// order.
func (s *Store) readContents(ctx context.Context, seqs []int64) (map[int64]contentHashOrSeq, error) {
	snap, err := s.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	defer snap.close()
	searcher := s.searchers.getOrCreate()
	defer s.searchers.put(searcher)
	out := make(map[int64]contentHashOrSeq, len(seqs))
	for len(seqs) > 0 {
		rows, err := snap.listBlocks(ctx, "seq <= ? ORDER BY seq DESC LIMIT 1", seqs[0])
		if err != nil {
			return nil, err
		}
		if len(rows) == 0 {
			seqs = seqs[1:]
			continue
		}
		b := snap.openBlock(rows[0])
		n := max(1, countBefore(seqs, b.FirstSeq+b.Span))
		if err := s.hashContents(b, searcher, seqs[:n], out); isDamage(err) {
			s.setAside(rows[0], err, false)
		} else if err != nil {
			return nil, err
		}
		seqs = seqs[n:]
	}
	return out, nil
}

// countBefore returns how many of the sorted seqs are less than end.
func countBefore(seqs []int64, end int64) int {
	n, _ := slices.BinarySearchFunc(seqs, end, func(seq, end int64) int { return cmp.Compare(seq, end) })
	return n
}

// hashContents adds the contents of a block's events to out.
func (s *Store) hashContents(b *block.Block, searcher *block.Searcher, seqs []int64, out map[int64]contentHashOrSeq) error {
	for _, seq := range seqs {
		row, found, err := b.FindSeq(seq)
		if err != nil {
			return err
		}
		if !found {
			continue
		}
		raw, err := searcher.Raw(b, row)
		if err != nil {
			return err
		}
		out[seq] = contentOfHash(maphash.Bytes(s.dedup.contentSeed, raw))
	}
	return nil
}
