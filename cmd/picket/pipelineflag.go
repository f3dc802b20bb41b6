package main

import "github.com/spf13/cobra"

// addPipelineFlag adds --pipeline.
func addPipelineFlag(cmd *cobra.Command) *[]string {
	return cmd.Flags().StringArray("pipeline", nil, "apply the processing pipeline in `FILE` to the rules (repeatable)")
}
