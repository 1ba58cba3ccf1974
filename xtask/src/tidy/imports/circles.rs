//! This module finds circles in a graph.

use std::collections::{BTreeMap, VecDeque};

use super::Graph;

/// Returns the groups of nodes that reach each other: the strongly connected components of more
/// than one node (Tarjan 1972), each in ascending order.
pub fn groups(graph: &Graph) -> Vec<Vec<usize>> {
    let mut search = Search {
        graph,
        order: vec![None; graph.len()],
        lowest: vec![0; graph.len()],
        stack: vec![],
        seen: 0,
        groups: vec![],
    };
    for node in 0..graph.len() {
        if search.order[node].is_none() {
            search.visit(node);
        }
    }
    search.groups.sort();
    search.groups
}

struct Search<'a> {
    graph: &'a Graph,
    /// Says when a node was reached.
    order: Vec<Option<usize>>,
    /// Holds the earliest node of the stack that a node leads back to; `usize::MAX` off the stack.
    lowest: Vec<usize>,
    stack: Vec<usize>,
    seen: usize,
    groups: Vec<Vec<usize>>,
}

impl Search<'_> {
    fn visit(&mut self, node: usize) {
        let order = self.seen;
        self.order[node] = Some(order);
        self.lowest[node] = order;
        self.seen += 1;
        self.stack.push(node);
        for next in self.graph[node].keys().copied() {
            if self.order[next].is_none() {
                self.visit(next);
            }
            self.lowest[node] = self.lowest[node].min(self.lowest[next]);
        }
        if self.lowest[node] != order {
            return;
        }
        let start = self.stack.iter().rposition(|other| *other == node).unwrap_or_default();
        let mut group = self.stack.split_off(start);
        for member in &group {
            self.lowest[*member] = usize::MAX;
        }
        if group.len() > 1 {
            group.sort_unstable();
            self.groups.push(group);
        }
    }
}

/// Returns the shortest circle within a group, from its smallest node on.
pub fn shortest(graph: &Graph, group: &[usize]) -> Vec<usize> {
    let circles = group.iter().filter_map(|start| circle_through(graph, group, *start));
    circles.min_by_key(Vec::len).unwrap_or_default()
}

/// Returns the shortest circle that begins at `start`.
fn circle_through(graph: &Graph, group: &[usize], start: usize) -> Option<Vec<usize>> {
    let mut before: BTreeMap<usize, usize> = BTreeMap::new(); // leads back to the start
    let mut queue = VecDeque::from([start]);
    while let Some(node) = queue.pop_front() {
        for next in graph[node].keys().copied().filter(|next| group.contains(next)) {
            if next == start {
                let mut circle = vec![node];
                while circle[circle.len() - 1] != start {
                    circle.push(before[&circle[circle.len() - 1]]);
                }
                circle.reverse();
                return Some(circle);
            }
            before.entry(next).or_insert_with(|| {
                queue.push_back(next);
                node
            });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(usize, usize)], nodes: usize) -> Graph {
        let mut graph = vec![BTreeMap::new(); nodes];
        for (from, to) in edges {
            graph[*from].insert(*to, 1);
        }
        graph
    }

    #[test]
    fn nodes_that_reach_each_other_are_a_group() {
        let edges = [(0, 1), (1, 2), (2, 0), (2, 3), (3, 4), (4, 3), (4, 5), (0, 5)];
        assert_eq!(groups(&graph(&edges, 6)), [vec![0, 1, 2], vec![3, 4]]);
        assert!(groups(&graph(&[(0, 1), (0, 2), (1, 2)], 3)).is_empty());
    }

    #[test]
    fn the_shortest_of_several_circles_is_found() {
        let graph = graph(&[(0, 1), (1, 2), (2, 3), (3, 0), (3, 1)], 4);
        assert_eq!(shortest(&graph, &[0, 1, 2, 3]), [1, 2, 3]);
    }
}
