package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"
)

// limitFlag is the value of a flag that bounds a list.
type limitFlag int

// addLimitFlag adds --limit with a default. 0 is no limit.
func addLimitFlag(cmd *cobra.Command, ifMissing int, usage string) *int {
	limit := ifMissing
	cmd.Flags().Var((*limitFlag)(&limit), "limit", usage+"; 0: all")
	return &limit
}

func (l *limitFlag) Set(s string) error {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return fmt.Errorf("%q is no number from 0 on", s)
	}
	*l = limitFlag(n)
	return nil
}

func (*limitFlag) Type() string { return "int" }

func (l *limitFlag) String() string { return strconv.Itoa(int(*l)) }
