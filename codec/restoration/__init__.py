"""From a picture that lost detail, decoded or enlarged, to one that has it again."""
