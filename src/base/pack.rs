use std::{collections::BTreeMap, mem};

/// Makes a tree anew with all its nodes full: one that was filled in the order of its keys has nearly half its slots
/// empty, as a node that is split at its end keeps six entries of eleven.
pub fn pack<K: Ord, V>(tree: &mut BTreeMap<K, V>) {
    *tree = mem::take(tree).into_iter().collect();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packed_tree_holds_what_it_held() {
        let mut tree: BTreeMap<u32, u32> = (0..1000).map(|n| (n, n * 2)).collect();
        tree.retain(|n, _| n % 3 != 0);
        let before = tree.clone();
        pack(&mut tree);
        assert_eq!(tree, before);
    }
}
